package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile/daemon"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// Exit codes.
const (
	exitOK      = 0
	exitError   = 1
	exitPending = 2  // changes pending
	exitRefused = 3  // some refusal code
	exitUsage   = 64 // wrong usage
)

// system is the outside world of one run.
type system struct {
	Args                     []string // program name first
	Stdin                    io.Reader
	Stdout, Stderr           io.Writer
	OutTerminal, ErrTerminal bool
	Env                      map[string]string
	Now                      func() time.Time
	Rand                     io.Reader
	Version                  string
	Executable               string // path of this program; lkv-guest lies beside it
	Host                     string
	Raw                      func() (restore func(), err error) // puts the terminal into raw mode; nil when standard input is none

	absent  *absences       // what reconcile --watch remembers of its looks before; nil in every other command
	journal *runJournal     // of the calls of sessions from their beginning; nil: of none
	monitor *daemon.Monitor // sees what reconcile --watch does; nil in every other command
}

// exit is an error that chooses the exit code. A nil Err says that everything was already shown.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, s system) int {
	app := s.app()
	err := app.RunContext(ctx, s.Args)
	if err == nil {
		return exitOK
	}
	code, show := exitError, err
	var sig interrupted
	var e *exit
	var blocked plan.Blocked
	switch {
	case errors.As(context.Cause(ctx), &sig):
		code = 128 + int(sig.sig)
	case errors.As(err, &e):
		code, show = e.code, e.err
	case errors.As(err, &blocked):
		code = exitRefused
	}
	if show != nil {
		s.note("%s\n", s.message(show))
	}
	return code
}

// note tells people something beside the result.
func (s system) note(format string, args ...any) {
	_, _ = fmt.Fprintf(s.Stderr, format, args...) // there is nowhere left to complain
}

// message renders an error: problems of a spec as they are, everything else on one line.
func (s system) message(err error) string {
	word := ui.Style{Color: s.ErrTerminal && s.Env["NO_COLOR"] == ""}.Bad("lkv: ")
	if specs.Problems(err) != nil {
		return err.Error()
	}
	return word + err.Error()
}

// app assembles the command line. Nothing of it outlives a run.
func (s system) app() *cli.App {
	app := &cli.App{
		Name: "lkv", HelpName: "lkv", Version: s.Version,
		Usage:     "Docker hosts from LinuxKit images on vSphere: build an ISO, push it, converge the VMs, keep their data disks",
		UsageText: "lkv [common options] COMMAND [options]",
		Reader:    s.Stdin, Writer: s.Stdout, ErrWriter: s.Stderr,
		HideVersion: true, HideHelpCommand: true, DisableSliceFlagSeparator: true,
		Flags: commonFlags(),
		Commands: []*cli.Command{
			s.initCommand(), s.lintCommand(), s.lockCommand(), s.buildCommand(), s.bootCommand(), s.proveCommand(), s.verifyImageCommand(), s.verifyCommand(), s.pushCommand(), s.promoteCommand(), s.channelsCommand(), s.gcCommand(), s.planCommand(), s.reconcileCommand(), s.statusCommand(),
			s.pauseCommand(), s.resumeCommand(), s.rollbackCommand(), s.adoptCommand(), s.forgetCommand(), s.disksCommand(), s.doctorCommand(),
			s.labCommand(), s.imagesCommand(), s.completionCommand(), s.versionCommand(), s.docsCommand(),
		},
		Action:         group,
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	prepare(app.Commands)
	return app
}

// prepare gives every command the common flags and the rules about wrong usage.
func prepare(list []*cli.Command) {
	for _, c := range list {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		if len(c.Subcommands) > 0 {
			c.Action = group
			prepare(c.Subcommands)
			continue
		}
		c.Flags = append(c.Flags, commonFlags()...)
		do, positionals := c.Action, c.ArgsUsage != ""
		c.Action = func(ctx *cli.Context) error {
			if err := errors.Join(refuseArguments(ctx, positionals), checkCommon(ctx)); err != nil {
				return err
			}
			return do(ctx)
		}
	}
}

// printJSON prints one result document.
func (s system) printJSON(v any) error {
	enc := json.NewEncoder(s.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// style says how results are written.
func (s system) style() ui.Style {
	return ui.Style{Color: s.OutTerminal && s.Env["NO_COLOR"] == ""}
}

// progress returns the display that the flags ask for.
func (s system) progress(c *cli.Context) *ui.Progress {
	mode := ui.Plain
	switch text(c, "progress") {
	case "", "auto":
		if s.ErrTerminal && s.Env["TERM"] != "dumb" {
			mode = ui.Bars
		}
	case "none":
		mode = ui.None
	}
	return ui.NewProgress(s.Stderr, mode, s.Now)
}

// logger returns the log that the flags ask for. It writes to standard error.
func (s system) logger(c *cli.Context) *slog.Logger {
	opt := &slog.HandlerOptions{Level: slog.LevelInfo}
	if given(c, "verbose") {
		opt.Level = slog.LevelDebug
	}
	if text(c, "log-format") == "json" {
		return slog.New(slog.NewJSONHandler(s.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(s.Stderr, opt))
}
