#!/bin/sh
echo "$LKV_PHASE $LKV_VM $LKV_NEXT" >> "$HOOKS_LOG"
