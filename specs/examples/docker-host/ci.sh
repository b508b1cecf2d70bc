#!/bin/sh
# What a CI job runs: check, build exactly what lkv.lock pins, prove that it boots and keeps its data, push, and show what
# would change. A second, protected job runs `lkv reconcile`.
# Commit lkv.lock: `lkv lock` writes it, `lkv lock --update` shows what newer tags would change.
# The connection comes from LKV_VCENTER_URL, LKV_VCENTER_USERNAME and LKV_VCENTER_PASSWORD_FILE.
# SIGN_KEY and VERIFY_KEY are the files of a key pair (lkv verify-image --help says how to make one); without them nothing
# is signed.
set -eu
lkv lint
lkv build --locked ${SIGN_KEY:+--sign "$SIGN_KEY"}
[ -z "${VERIFY_KEY:-}" ] || lkv verify-image --image docker-host --key "$VERIFY_KEY"
lkv prove --image docker-host # needs QEMU and OVMF: apt-get install qemu-system-x86 ovmf
lkv push
status=0
lkv plan || status=$?
case $status in
0) echo "nothing to do" ;;
2) echo "changes pending: run lkv reconcile" ;;
*) exit "$status" ;;
esac
