// Command lkv builds ISOs from LinuxKit YAML, pushes them to datastores and converges fleets of VMs on them.
//
// This package only turns flags into one library call and renders what comes back. Everything it may touch of the
// outside world is in the system value, so that tests call run in their own process.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // windows name time zones, and the container image has no zone files

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

//go:generate go run . docs --out ../../docs/cli.md

var version = "dev" // set by the linker

func main() {
	ctx, stop := withSignals(context.Background())
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	code := run(ctx, system{
		Raw:  rawTerminal(),
		Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())), ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Env: environ(os.Environ()), Now: time.Now, Rand: rand.Reader,
		Version: version, Executable: exe, Host: host,
	})
	stop()
	os.Exit(code)
}

// rawTerminal returns what puts the terminal into raw mode, nil when standard input is no terminal.
func rawTerminal() func() (func(), error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil
	}
	return func() (func(), error) {
		old, err := term.MakeRaw(fd)
		return func() { _ = term.Restore(fd, old) }, err // there is nothing left to tell it to
	}
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ sig syscall.Signal }

func (i interrupted) Error() string { return "ended by " + unix.SignalName(i.sig) }

// withSignals ends the context on the first SIGINT or SIGTERM. The second one kills the process as if nobody listened.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-ch:
			signal.Stop(ch)
			if sig, ok := s.(syscall.Signal); ok {
				fmt.Fprintf(os.Stderr, "\nlkv: %s: finishing the call in flight; once more to stop at once\n", sig)
				cancel(interrupted{sig})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(ch); cancel(nil) }
}

func environ(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	return env
}
