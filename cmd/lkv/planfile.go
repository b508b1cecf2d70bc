package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// savedPlansFormat is the version of savedPlans' JSON.
const savedPlansFormat = 1

// savedPlans is the file of lkv plan --out: one plan per fleet, and what bounded them.
type savedPlans struct {
	Format      int               `json:"format"`
	Made        time.Time         `json:"made"`
	Targets     []string          `json:"targets,omitempty"`
	IgnoreBrake bool              `json:"ignore_brake,omitempty"`
	Fleets      []reconcile.Saved `json:"fleets"`
}

// savePlan writes a plan file, whole or not at all, that nobody else may read. A fleet that could not be looked at has
// no plan, so that no file is written.
func (s system) savePlan(path string, p savedPlans, fleets int) (err error) {
	if len(p.Fleets) < fleets {
		s.note("lkv: %s was not written: a fleet has no plan yet, see above\n", path)
		return nil
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".lkv-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	_, err = tmp.Write(append(raw, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write plan: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	s.note("the plan is in %s: lkv reconcile --plan %s\n", path, path)
	return nil
}

// readPlan reads a plan file and checks that no flag says something else than it.
func readPlan(c *cli.Context) (*savedPlans, error) {
	path := c.String("plan")
	for _, name := range []string{"fleet", "target", "ignore-brake", "watch"} {
		if given(c, name) || len(texts(c, name)) > 0 {
			return nil, usagef("--%s does not go with --plan: the plan says it; make another plan with lkv plan --out", name)
		}
	}
	raw, err := readFile("plan", path)
	if err != nil {
		return nil, err
	}
	var p savedPlans
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, usagef("--plan %s is no plan of lkv plan --out: %w", path, err)
	}
	if p.Format != savedPlansFormat || len(p.Fleets) == 0 {
		return nil, usagef("--plan %s: format %d with %d fleets; this lkv knows format %d: make it anew with lkv plan --out", path, p.Format, len(p.Fleets), savedPlansFormat)
	}
	return &p, nil
}

// fleets returns the fleets of the plan.
func (p *savedPlans) fleets(c *cli.Context, spec specs.Spec) ([]specs.Fleet, error) {
	all, err := fleets(c, spec)
	if err != nil {
		return nil, err
	}
	var list []specs.Fleet
	for _, x := range p.Fleets {
		i := slices.IndexFunc(all, func(f specs.Fleet) bool { return f.Name == x.Fleet })
		if i < 0 {
			return nil, plan.Blocked{Code: plan.R17, Reason: fmt.Sprintf("the spec has no fleet %s any more", x.Fleet), Clear: "lkv plan --out again, look at it, and use that one"}
		}
		list = append(list, all[i])
	}
	return list, nil
}

// of returns the plan of a fleet.
func (p *savedPlans) of(fleet string) *reconcile.Saved {
	i := slices.IndexFunc(p.Fleets, func(x reconcile.Saved) bool { return x.Fleet == fleet })
	if i < 0 {
		return nil
	}
	return &p.Fleets[i]
}
