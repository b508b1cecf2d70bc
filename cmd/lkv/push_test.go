package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
)

// Without a terminal every transfer is one line, and so is every pause and every copy that failed.
func TestPushProgress(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(0, 0)
	u := &uploads{p: ui.NewProgress(&out, ui.Plain, func() time.Time { at = at.Add(time.Second); return at }), image: "host", items: map[string]*ui.Item{}}
	for _, e := range []push.Progress{
		{Store: "dc1", Phase: push.PhaseUpload, Done: 1 << 20, Total: 4 << 20},
		{Store: "dc1", Phase: push.PhaseWait, Err: errors.New("connection reset"), Wait: 2 * time.Second},
		{Store: "dc1", Phase: push.PhaseUpload, Done: 1 << 19, Total: 4 << 20},
		{Store: "dc1", Phase: push.PhaseUpload, Done: 4 << 20, Total: 4 << 20},
		{Store: "dc1", Phase: push.PhaseVerify, Done: 1 << 20, Total: 1 << 20},
		{Store: "dc2", Phase: push.PhaseCopy, Total: 4 << 20},
		{Store: "dc2", Phase: push.PhaseCopy, Total: 4 << 20, Err: errors.New("task failed")},
		{Store: "dc3", Phase: push.PhaseCopy, Total: 4 << 20},
		{Store: "dc3", Phase: push.PhaseCopy, Done: 4 << 20, Total: 4 << 20},
		{Store: "dc2", Phase: push.PhaseUpload, Done: 1 << 20, Total: 4 << 20},
	} {
		u.show(e)
	}
	u.end(errors.New("cut"))
	want := `host dc1: connection reset; trying again in 2.0s
upload host dc1 done in 1.0s: 4.0 MiB
verify host dc1 done in 1.0s: 1.0 MiB
copy host dc2: task failed; uploading instead
copy host dc2 failed in 1.0s: task failed
copy host dc3 done in 1.0s: 4.0 MiB
upload host dc2 failed in 1.0s: see below
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
