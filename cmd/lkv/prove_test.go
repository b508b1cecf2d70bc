package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/prove"
	"github.com/lkv-io/lkv/internal/ui"
)

func TestVerdictText(t *testing.T) {
	res := prove.Result{Verdict: "NOT proven: x.iso: b: lost", Steps: []prove.Step{
		{Title: "a", Proven: true, Detail: "written", Seconds: 14.62}, {Title: "b", Detail: "lost", Seconds: 120},
	}}
	const want = `ok      14.6s  a: written
FAIL   120.0s  b: lost
console logs, and the screen of a failure, are in /tmp/x
NOT proven: x.iso: b: lost
`
	if d := cmp.Diff(want, verdictText(ui.Style{}, res, "/tmp/x")); d != "" {
		t.Error(d)
	}
	res = prove.Result{Proven: true, Verdict: "proven: x.iso: it boots"}
	if got := verdictText(ui.Style{}, res, ""); got != "proven: x.iso: it boots\n" {
		t.Errorf("%q", got)
	}
}

// The exit code is the verdict.
func TestVerdictExitCode(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out strings.Builder
		s := system{Stdout: &out}
		if err := s.verdict(asJSON, prove.Result{Proven: true}, ""); err != nil {
			t.Errorf("proven: %v", err)
		}
		err := s.verdict(asJSON, prove.Result{}, "")
		var e *exit
		if !errors.As(err, &e) || e.code != exitError || e.err != nil {
			t.Errorf("not proven: %v", err)
		}
	}
}

// What the image needs is rounded up: a byte too little is too little.
func TestProofMemory(t *testing.T) {
	var m manifest.Manifest
	m.RAM.Minimum = 200<<20 + 1
	for flag, want := range map[string]int{"": 713, "1GiB": 1024, "300MiB": 300} {
		if got, err := proofMemory(flag, m); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", flag, got, err, want)
		}
	}
}
