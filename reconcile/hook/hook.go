// Package hook runs the commands that a spec names: drain hooks and ready checks.
//
// A command gets no standard input, its standard output goes nowhere, and of its standard error the end is kept. It
// runs in a process group of its own, so that a terminal's Ctrl-C does not reach it, and when its time is up the whole
// group is killed, children included. What it is told stands in its environment (see Subject); docs/hooks.md is the
// manual.
//
// Not supported: shells (write ["sh", "-c", "…"]), and input or results other than the exit code and standard error.
package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/lkv-io/lkv/internal/secret"
)

// tempfail is EX_TEMPFAIL of sysexits.h.
const tempfail = 75

// ErrAgain says that a command ended with exit code 75: it is not done, and wants to be run again later.
var ErrAgain = errors.New("not done yet, run it again")

// Command is what to run.
type Command struct {
	Argv    []string      // program and arguments; a program with a slash in it is looked for from Dir
	Dir     string        // working directory; empty: the current one
	Env     []string      // "NAME=value"; the command sees this and what Run is given, nothing else
	Timeout time.Duration // when the process group is killed; 0: when the context ends
}

// Result is what a command left.
type Result struct {
	Code int    // exit code; -1 when it did not start or was killed
	Tail string // the last 2 KiB of its standard error, without secrets (see internal/secret) and control characters but line ends
}

// Run runs the command once, with more variables, which win over those of Env. The error is nil when the exit code is
// 0. It wraps ErrAgain when the code is 75, context.DeadlineExceeded or context.Canceled when the time was up, else
// what os/exec says; it ends with the last line of standard error.
func (c Command) Run(ctx context.Context, env ...string) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{Code: -1}, errors.New("run command: it is empty")
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(append([]string{}, c.Env...), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // before it is reaped: the number is still its own
	cmd.WaitDelay = time.Second                                                          // a child that keeps the output open must not keep us
	var end tail
	cmd.Stderr = &end
	err := cmd.Run()
	res := Result{Code: cmd.ProcessState.ExitCode(), Tail: secret.Redact(end.text(), secret.Of(cmd.Env)...)}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it did end well; a child of it lives on
	}
	return res, c.explain(ctx, res, err)
}

// explain turns how a command ended into the error of Run.
func (c Command) explain(ctx context.Context, res Result, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		why := "it was interrupted"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			why = "it took too long"
		}
		err = fmt.Errorf("%s: %w: %w", why, ctx.Err(), err)
	case res.Code == tempfail:
		err = fmt.Errorf("%w: %w", ErrAgain, err)
	}
	if line := res.Last(); line != "" {
		return fmt.Errorf("run %s: %w: %s", c.Argv[0], err, line)
	}
	return fmt.Errorf("run %s: %w", c.Argv[0], err)
}

// Last returns the last line of the tail, at most 200 bytes of it, for messages.
func (r Result) Last() string {
	lines := strings.Split(r.Tail, "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	return strings.ToValidUTF8(last[max(0, len(last)-200):], "")
}

// Phases of a hook.
const (
	Drain   = "drain"   // take work off the VM; it will be shut down
	Restore = "restore" // the VM is back and ready: give it work again
	Check   = "check"   // ready { command }: does the VM serve?
)

// What comes after a drain.
const (
	Keep   = "keep"   // the VM, or its disk under a new VM, comes back
	Delete = "delete" // it does not
)

// Subject is the VM a command is run for, and why.
type Subject struct {
	Phase   string // Drain, Restore or Check
	VM      string // name in vCenter
	Node    string // name by which the cluster knows it; empty: the VM's
	Next    string // Keep or Delete; empty: Keep
	Fleet   string
	Ordinal int
	IP      string // as the guest says; empty when it does not
	Image   string // SHA-256 of the ISO that is wanted on the VM
	Reason  string // why the VM is rolled, in words
}

// Env returns the variables that say it, every one set, also the empty ones. Control characters are left out: guests
// and people wrote some of the values.
func (s Subject) Env() []string {
	return []string{
		"LKV_PHASE=" + s.Phase, "LKV_VM=" + clean(s.VM), "LKV_NODE=" + clean(cmp.Or(s.Node, s.VM)), "LKV_NEXT=" + cmp.Or(s.Next, Keep),
		"LKV_FLEET=" + clean(s.Fleet), fmt.Sprintf("LKV_ORDINAL=%d", s.Ordinal), "LKV_IP=" + clean(s.IP),
		"LKV_IMAGE=" + clean(s.Image), "LKV_REASON=" + clean(s.Reason),
	}
}
