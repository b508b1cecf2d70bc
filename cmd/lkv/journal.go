package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
)

func journalFlag() cli.Flag {
	return &cli.StringFlag{Name: "journal", Usage: "write what is done to vCenter into a new file in the directory `DIR`, or into the new file FILE; none: write nothing (default lkv/journal below XDG_STATE_HOME or ~/.local/state)"}
}

// runJournal is the journal of one run. A nil one writes nothing.
type runJournal struct {
	w    *journal.Writer
	kept bool // also when nothing was done
}

// openJournal makes the journal that --journal asks for. A run whose journal cannot be made does not begin.
func (s system) openJournal(c *cli.Context) (*runJournal, error) {
	to := text(c, "journal")
	if to == "none" {
		return nil, nil //nolint:nilnil // a nil journal writes nothing
	}
	run, err := s.nonce()
	if err != nil {
		return nil, err
	}
	head := journal.Head{Version: s.Version, Command: c.Command.Name, Run: run}
	if to == "" {
		if to, err = s.journalDir(c); err != nil {
			return nil, err
		}
		to += string(filepath.Separator)
	}
	if info, err := os.Stat(to); strings.HasSuffix(to, string(filepath.Separator)) || err == nil && info.IsDir() {
		w, err := journal.CreateIn(to, run, head, s.Now)
		return &runJournal{w: w}, journalError(err)
	}
	if given(c, "watch") {
		return nil, usagef("--journal %s: with --watch name a directory: every round has its own journal", to)
	}
	w, err := journal.Create(to, head, s.Now)
	return &runJournal{w: w, kept: true}, journalError(err)
}

func journalError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: nothing was done; name a directory or a new file with --journal, or go without one with --journal none", err)
}

// journalDir is where journals lie when nobody names a place: state, which nobody clears like a cache.
func (s system) journalDir(c *cli.Context) (string, error) {
	for _, d := range []struct{ env, sub string }{{"XDG_STATE_HOME", "lkv/journal"}, {"HOME", ".local/state/lkv/journal"}} {
		if v := s.Env[d.env]; v != "" {
			return filepath.Join(v, d.sub), nil
		}
	}
	dir, err := s.cacheDir(c)
	if err != nil {
		return "", usagef("no directory for the journal: name one with --journal, or write none with --journal none")
	}
	return filepath.Join(dir, "journal"), nil
}

// begin says in the journal what is wanted of a fleet. From then on every call of its session stands there first.
func (j *runJournal) begin(t target) error {
	if j == nil {
		return nil
	}
	raw, err := json.Marshal(t.desired)
	if err != nil {
		return fmt.Errorf("write down the desired state: %w", err)
	}
	about := journal.Fleet{Name: t.desired.Fleet, Claimer: t.desired.Claimer, Desired: fmt.Sprintf("%x", sha256.Sum256(raw)),
		VMs: names(t.desired.VMs), MaxUnavailable: t.desired.Rollout.MaxUnavailable}
	if t.desired.Rollout.Strategy == plan.BlueGreen {
		about.Surge = max(1, t.desired.Rollout.Surge)
	}
	return journalError(t.fleet.Journal(j.w, about))
}

func names(vms []plan.WantVM) []string {
	list := make([]string, len(vms))
	for i, v := range vms {
		list[i] = v.Name
	}
	return list
}

// close ends the journal. One in a directory in which no call stands is removed: a run that finds nothing to do would
// push out those of runs that did something.
func (j *runJournal) close() error {
	switch {
	case j == nil:
		return nil
	case j.kept || j.w.Calls() > 0:
		return j.w.Close()
	}
	return j.w.Discard()
}

// journaled runs do with a journal of everything that its sessions change, from their beginning.
func (s system) journaled(c *cli.Context, do func(system) error) error {
	return s.withJournal(c, func(j *runJournal) error {
		s.journal = j
		return do(s)
	})
}

// withJournal runs do with a journal, and says where it lies when something was done.
func (s system) withJournal(c *cli.Context, do func(*runJournal) error) error {
	j, err := s.openJournal(c)
	if err != nil {
		return err
	}
	err = do(j)
	if j != nil && j.w.Calls() > 0 {
		s.note("journal: %s (check it with lkv verify)\n", j.w.Path())
	}
	return errors.Join(err, j.close())
}
