package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

func (s system) reconcileCommand() *cli.Command {
	return &cli.Command{
		Name: "reconcile", Usage: "converge the fleets once: create what is missing, roll what is outdated, one wave at a time",
		Description: "Exit code 0: converged. 2: stopped before the end, the next run goes on. 3: something is refused.",
		Flags: append([]cli.Flag{
			fleetFlag(), targetFlag(), brakeFlag(), journalFlag(),
			&cli.StringFlag{Name: "plan", Usage: "do what the plan in `FILE` of lkv plan --out says and nothing else; refused with R17 when anything changed since"},
			&cli.IntFlag{Name: "max-steps", Usage: "stop after `N` steps that change something, 1 or more"},
			&cli.DurationFlag{Name: "max-duration", Usage: "begin nothing new after the time `D`, for example 30m"},
		}, watchFlags()...),
		Action: s.reconcile,
	}
}

func (s system) reconcile(c *cli.Context) error {
	if err := checkBounds(c); err != nil {
		return err
	}
	if given(c, "watch") {
		for _, name := range []string{"plan", "target", "ignore-brake", "max-steps", "max-duration"} {
			if c.IsSet(name) {
				return usagef("--%s does not go with --watch: it is about one run, and the daemon makes one every interval", name)
			}
		}
		return s.watch(c)
	}
	if err := refuseWatchFlags(c); err != nil {
		return err
	}
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	if spec.Reconcile.Suspend {
		s.note("suspended by %s: nothing is done\n", spec.Reconcile.Pos)
		return &exit{code: exitPending}
	}
	results, err := s.round(c)
	if err != nil {
		return err
	}
	return outcome(results)
}

// checkBounds refuses bounds that bound nothing: to the engine they would mean that there are none.
func checkBounds(c *cli.Context) error {
	switch {
	case c.IsSet("max-steps") && c.Int("max-steps") < 1:
		return usagef("--max-steps %d: write 1 or more, or leave it out for no bound", c.Int("max-steps"))
	case c.IsSet("max-duration") && c.Duration("max-duration") <= 0:
		return usagef("--max-duration %s: write a time above zero, for example 30m, or leave it out for no bound", c.Duration("max-duration"))
	}
	return nil
}

// round reconciles every fleet once and prints what came of it.
func (s system) round(c *cli.Context) (results []reconcile.Result, err error) {
	var only *savedPlans
	if c.String("plan") != "" {
		if only, err = readPlan(c); err != nil {
			return nil, err
		}
	}
	progress := s.progress(c)
	defer progress.Wait()
	var mu sync.Mutex
	err = s.withJournal(c, func(j *runJournal) error {
		s.journal = j // images may be fetched before a fleet begins
		return s.eachPlanned(c, only, func(t target) error {
			res, err := s.converge(c, t, only, j, progress, &mu)
			results = append(results, res)
			return err
		})
	})
	progress.Wait()
	for _, r := range results {
		if err := s.printResult(c, r); err != nil {
			return results, err
		}
	}
	return results, err
}

// converge runs one fleet. Events go to standard output as JSON lines, or to the progress display.
func (s system) converge(c *cli.Context, t target, only *savedPlans, j *runJournal, progress *ui.Progress, mu *sync.Mutex) (reconcile.Result, error) {
	if t.blocked != nil {
		return reconcile.Result{Fleet: t.desired.Fleet, Outcome: reconcile.Refused, Blocked: t.blocked, Failures: []reconcile.Failure{}, Same: []string{},
			Extra: []string{}, Retired: []string{}, Later: []plan.Later{}}, nil
	}
	if err := j.begin(t); err != nil {
		return reconcile.Result{Fleet: t.desired.Fleet, Outcome: reconcile.Broken}, err
	}
	show := (&steps{p: progress, items: map[string]*ui.Item{}}).show
	if given(c, "json") {
		enc := json.NewEncoder(s.Stdout)
		show = func(e reconcile.Event) {
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(e) // a closed pipe must not stop a roll halfway
		}
	}
	opt := reconcile.Options{
		Desired: t.desired, Observer: t.fleet, Executor: t.fleet, Watcher: t.fleet, Drainer: t.drain, Clock: clock{s.Now}, Events: show,
		MaxSteps: c.Int("max-steps"), MaxDuration: c.Duration("max-duration"),
	}
	if only != nil {
		opt.Only = only.of(t.desired.Fleet)
	}
	if t.checks.Any() {
		opt.Prober = t.checks
	}
	if s.monitor != nil {
		opt = s.monitor.Watch(opt)
	}
	before := t.sent()
	res, err := reconcile.Run(c.Context, opt)
	for i := range res.Failures {
		if f := &res.Failures[i]; f.Recorded {
			f.Clear = "look at " + f.VM + ", then lkv resume --fleet " + t.desired.Fleet
		}
	}
	res.Calls = t.sent() - before // fleets run one after the other
	if err != nil && !errors.Is(err, context.Cause(c.Context)) {
		return res, fmt.Errorf("reconcile fleet %s: %w", t.desired.Fleet, err)
	}
	return res, err
}

// steps shows the steps of a run, one item per step.
type steps struct {
	p     *ui.Progress
	items map[string]*ui.Item
}

func (x *steps) show(e reconcile.Event) {
	key := e.VM + "  " + ui.Brief(e.Step)
	item := x.items[key]
	switch {
	case e.Renewal && e.State != reconcile.Failed: // of no interest to people
	case e.State == reconcile.Waiting:
		x.p.Line("%s  waits: %s", e.VM, e.Reason)
	case e.State == reconcile.Start && e.Reason != "":
		x.p.Line("%s  %s", e.VM, ui.Brief(e.Reason))
	case e.State == reconcile.Start:
		x.items[key] = x.p.Start(key, 0)
	case e.State == reconcile.Skipped:
		x.p.Line("%s", e.Error)
	case item == nil: // the end of a whole roll
		if e.Error != "" {
			x.p.Line("%s  %s: %s", e.VM, e.Step, e.Error)
		}
	case e.State == reconcile.Failed:
		item.Fail(errors.New(e.Error))
		delete(x.items, key)
	default:
		item.Done("")
		delete(x.items, key)
	}
}

// printResult closes one fleet.
func (s system) printResult(c *cli.Context, r reconcile.Result) error {
	if given(c, "json") {
		return json.NewEncoder(s.Stdout).Encode(r)
	}
	style := s.style()
	word := style.Warn(string(r.Outcome))
	switch r.Outcome {
	case reconcile.Converged:
		word = style.Good(string(r.Outcome))
	case reconcile.Refused, reconcile.Broken:
		word = style.Bad(string(r.Outcome))
	}
	text := fmt.Sprintf("%s: %s, %d as wanted, %d mutating calls in %d steps, %s\n", style.Bold("fleet "+r.Fleet), word, len(r.Same), r.Calls, r.Mutations,
		ui.Duration(time.Duration(r.Seconds*float64(time.Second))))
	if r.Why != "" {
		text += "  " + r.Why + "\n"
	}
	for _, f := range r.Failures {
		text += fmt.Sprintf("  %s  %s %s: %s\n", style.Bold(f.VM), style.Bad("failed at"), f.Step, f.Why)
		if f.Clear != "" {
			text += "      to go on: " + f.Clear + "\n"
		}
	}
	for _, b := range r.Blocked {
		text += "  " + b.Error() + "\n"
	}
	for _, l := range r.Later {
		until := ""
		if !l.Until.IsZero() {
			until = ", until " + l.Until.UTC().Format("2006-01-02 15:04Z")
		}
		text += fmt.Sprintf("  %s  waits: %s%s\n", style.Bold(l.VM), l.Reason, until)
	}
	for _, vm := range r.Extra {
		text += fmt.Sprintf("  %s  is not wanted any more and was left alone\n", style.Bold(vm))
	}
	if n := len(r.Retired); n > 0 {
		text += fmt.Sprintf("  retired, kept until lkv gc: %s\n", strings.Join(r.Retired, ", "))
	}
	_, err := fmt.Fprint(s.Stdout, text)
	return err
}

// outcome is the exit code of several runs: the worst counts.
func outcome(results []reconcile.Result) error {
	code, rank := exitOK, 0
	for _, r := range results {
		c, n := exitError, 3
		switch r.Outcome {
		case reconcile.Converged:
			c, n = exitOK, 0
		case reconcile.Pending:
			c, n = exitPending, 1
		case reconcile.Refused:
			c, n = exitRefused, 2
		}
		if n > rank {
			code, rank = c, n
		}
	}
	if code == exitOK {
		return nil
	}
	return &exit{code: code}
}

// clock is the machine's clock.
type clock struct{ now func() time.Time }

func (c clock) Now() time.Time { return c.now() }

func (c clock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
