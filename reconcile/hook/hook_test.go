package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "drain.sh"), []byte("#!/bin/sh\necho here >&2\npwd >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	sh := func(script string) Command { return Command{Argv: []string{"/bin/sh", "-c", script}} }
	for name, c := range map[string]struct {
		command Command
		code    int
		tail    string
		fails   bool
		is      error  // what the error wraps, when that matters
		says    string // the error holds it
	}{
		"good":              {command: sh("true")},
		"good and talks":    {command: sh("echo nothing of this; echo one >&2; echo two >&2"), tail: "one\ntwo"},
		"again":             {command: sh("echo 3 tasks left >&2; exit 75"), code: 75, tail: "3 tasks left", fails: true, is: ErrAgain, says: "run /bin/sh: not done yet, run it again: exit status 75: 3 tasks left"},
		"fails":             {command: sh("echo first >&2; echo no >&2; exit 3"), code: 3, tail: "first\nno", fails: true, says: "run /bin/sh: exit status 3: no"},
		"fails in silence":  {command: sh("exit 1"), code: 1, fails: true, says: "run /bin/sh: exit status 1"},
		"killed by another": {command: sh("kill -9 $$"), code: -1, fails: true, says: "signal: killed"},
		"missing":           {command: Command{Argv: []string{"./no-such-hook"}}, code: -1, fails: true, is: os.ErrNotExist, says: "no-such-hook"},
		"empty":             {code: -1, fails: true, says: "it is empty"},
		"relative to dir":   {command: Command{Argv: []string{"./drain.sh"}, Dir: dir}, tail: "here\n" + dir},
		"control":           {command: sh(`printf 'a\033[2Jb\007\377\n' >&2`), tail: "a[2Jb"},
		"no other env":      {command: Command{Argv: []string{"/bin/sh", "-c", `test "$HOME$A$B" = bc`}, Env: []string{"A=a", "B=c"}}},
		"no input":          {command: sh(`read x && exit 1 || exit 0`)},
		"secrets":           {command: Command{Argv: []string{"/bin/sh", "-c", `echo "joined with SWMTKN-1-abc-def, $LKV_VCENTER_PASSWORD" >&2; exit 1`}, Env: []string{"LKV_VCENTER_PASSWORD=hunter2"}}, code: 1, tail: "joined with (secret), (secret)", fails: true, says: "joined with (secret), (secret)"},
		"child lives on":    {command: sh(`sleep 3 & exit 0`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := c.command.Run(t.Context(), "A=b")
			if diff := cmp.Diff(Result{c.code, c.tail}, res); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err != nil) != c.fails || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v", err)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is no %v", err, c.is)
			}
			if again := c.code == 75; errors.Is(err, ErrAgain) != again {
				t.Errorf("%v: to be run again is %t", err, !again)
			}
		})
	}
}

// A deadline kills the command and what it started, also what does not listen to SIGTERM.
func TestDeadlineKillsTheGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := Command{
		Argv: []string{"/bin/sh", "-c", `trap "" TERM INT HUP; sleep 300 & echo $$ $! >"$PIDS.new"; mv "$PIDS.new" "$PIDS"; echo waiting >&2; wait`},
		Env:  []string{"PIDS=" + pids, "PATH=" + os.Getenv("PATH")},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // as soon as both are there
		for {
			if _, err := os.Stat(pids); err == nil || ctx.Err() != nil {
				cancel()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	from := time.Now()
	res, err := c.Run(ctx)
	if !errors.Is(err, context.Canceled) || res.Code != -1 || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%+v, %v", res, err)
	}
	if took := time.Since(from); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
	}
}

// gone waits until a killed process is no more than a zombie that its new parent has yet to collect.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, rest, ok := strings.Cut(string(stat), ") "); err != nil || ok && strings.HasPrefix(rest, "Z") {
			return
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("process %d lives on", pid)
}

func TestTimeout(t *testing.T) {
	res, err := Command{Argv: []string{"/bin/sh", "-c", "sleep 60; true"}, Timeout: 50 * time.Millisecond}.Run(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "took too long") || res.Code != -1 {
		t.Errorf("%+v, %v", res, err)
	}
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		t.Errorf("%v does not say how the process ended", err)
	}
}

// Whatever a command writes, in whatever pieces, the end of it is kept and no more.
func TestTailKeepsTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all strings.Builder
		var end tail
		for range rapid.IntRange(0, 6).Draw(t, "writes") {
			piece := strings.Repeat(rapid.StringMatching(`[a-z]`).Draw(t, "letter"), rapid.IntRange(0, 2*kept).Draw(t, "length"))
			all.WriteString(piece)
			if n, err := end.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatalf("wrote %d of %d: %v", n, len(piece), err)
			}
		}
		want := all.String()
		if got := end.text(); got != want[max(0, len(want)-kept):] || cap(end.b) > 4*kept {
			t.Fatalf("kept %d bytes of %d in %d", len(got), len(want), cap(end.b))
		}
	})
}

func TestSubjectEnv(t *testing.T) {
	got := Subject{Phase: Drain, VM: "wrk-01", Fleet: "workers", Ordinal: 1, IP: "192.0.2.1\n\x00", Image: "ab", Reason: "image\x1b[0m a → b"}.Env()
	want := []string{"LKV_PHASE=drain", "LKV_VM=wrk-01", "LKV_NODE=wrk-01", "LKV_NEXT=keep", "LKV_FLEET=workers", "LKV_ORDINAL=1",
		"LKV_IP=192.0.2.1", "LKV_IMAGE=ab", "LKV_REASON=image[0m a → b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = Subject{Phase: Restore, VM: "a", Node: "n", Next: Delete}.Env()
	if got[2] != "LKV_NODE=n" || got[3] != "LKV_NEXT=delete" {
		t.Errorf("%q", got)
	}
}
