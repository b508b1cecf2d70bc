package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watch makes this test process adopt orphans, as PID 1 does.
func watch(t *testing.T) *Table {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	table := New()
	table.Watch(ctx)
	return table
}

func TestRunTellsHowAProcessEnded(t *testing.T) {
	table := watch(t)
	for script, want := range map[string]string{
		"exit 0": "", "exit 7": "exit status 7", "kill -TERM $$": "killed by SIGTERM",
	} {
		err := table.Run(t.Context(), exec.Command("/bin/sh", "-c", script))
		if got := text(err); got != want {
			t.Errorf("%q: %q, want %q", script, got, want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestStartOfNothingIsAnError(t *testing.T) {
	if err := watch(t).Run(t.Context(), exec.Command("/nonexistent/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want not exist", err)
	}
}

func TestStartRefusesStreamsThatNeedWait(t *testing.T) {
	cmd := exec.Command("/bin/true")
	cmd.Stdout = &strings.Builder{}
	if _, err := watch(t).Start(cmd); err == nil {
		t.Error("a writer that is no file was taken: nobody would ever copy to it")
	}
}

func TestRunKillsWhenContextEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := watch(t).Run(ctx, exec.Command("/bin/sleep", "60"))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// TestAdopt learns an orphan's number from its parent, both while it runs and after it has ended.
func TestAdopt(t *testing.T) {
	table := watch(t)
	for _, life := range []string{"sleep 0.5; exit 5", "sleep 0.1; exit 5"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		release := table.Hold()
		cmd := exec.Command("/bin/sh", "-c", "(exec >/dev/null; "+life+") & echo $!")
		cmd.Stdout = w
		if err := table.Run(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		buf := make([]byte, 16)
		n, _ := r.Read(buf)
		pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
		if err != nil {
			t.Fatal(err)
		}
		if life == "sleep 0.1; exit 5" { // ends before it is adopted
			time.Sleep(400 * time.Millisecond)
		}
		c := table.Adopt(pid)
		release()
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("%q: end of the orphan was not seen", life)
		}
		if got := text(c.Err()); got != "exit status 5" || c.Alive() {
			t.Errorf("%q: %q, alive %t", life, got, c.Alive())
		}
	}
}

func TestReleaseForgets(t *testing.T) {
	table := watch(t)
	release := table.Hold()
	if err := table.Run(t.Context(), exec.Command("/bin/sh", "-c", "(sleep 0.1; exit 3) & :")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	release()
	release() // twice is once
	table.mu.Lock()
	defer table.mu.Unlock()
	if table.holds != 0 || len(table.orphaned) != 0 {
		t.Errorf("holds %d, kept %d", table.holds, len(table.orphaned))
	}
}
