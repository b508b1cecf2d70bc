package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/lab"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lkv": main})
}

// Each script runs lkv as people do: help, usage errors, diagnostics, exit codes.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: golden.Update(), RequireExplicitExec: true, Deadline: time.Now().Add(3 * time.Minute),
		Setup: func(e *testscript.Env) error { // for scripts that empty PATH
			e.Setenv("LKV", filepath.Join(filepath.SplitList(e.Getenv("PATH"))[0], "lkv"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "fillcache": fill, "waitlab": waitLab, "nonet": noNet},
	})
}

// exits runs a command and compares its exit code: exits CODE lkv …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// noNet runs a command without any network and compares its exit code: nonet CODE lkv …
func noNet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: nonet CODE COMMAND...")
	}
	unshare := []string{args[0], "unshare", "--net"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	exits(ts, false, append(unshare, args[1:]...))
}

// fill fills the image cache in a directory: fillcache DIR
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fillcache DIR")
	}
	ts.Check(fillCache(ts.MkAbs(args[0])))
}

// waitLab waits until the lab of a directory answers: waitlab DIR
func waitLab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitlab DIR")
	}
	var err error
	for range 300 {
		if _, err = lab.Dial(context.Background(), ts.MkAbs(args[0])); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("the lab does not answer: %v", err)
}

// Everything a user can type is in the reference.
func TestReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/cli.md"
	got := reference(system{Version: "dev", Stdout: &bytes.Buffer{}}.app())
	golden.Check(t, path, got)
}
