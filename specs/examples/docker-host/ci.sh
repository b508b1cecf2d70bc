#!/bin/sh
# What a CI job runs: check, build, push, and show what would change. A second, protected job runs `lkv reconcile`.
# The connection comes from LKV_VCENTER_URL, LKV_VCENTER_USERNAME and LKV_VCENTER_PASSWORD_FILE.
set -eu
lkv lint
lkv build --locked
lkv push
status=0
lkv plan || status=$?
case $status in
0) echo "nothing to do" ;;
2) echo "changes pending: run lkv reconcile" ;;
*) exit "$status" ;;
esac
