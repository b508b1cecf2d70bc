package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// checkTargets refuses a target that is no VM of a chosen fleet: neither one that is wanted nor one that is there and is
// to go. Every fleet gets all of the names: one that has none of them does nothing. It looks at the fleets only for
// names that the spec does not know.
func (x *sessions) checkTargets(ctx context.Context, names []string, chosen []specs.Fleet) error {
	var known []string
	for _, f := range chosen {
		for _, m := range f.Members() {
			known = append(known, m.Name)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(known, name) })
	if len(rest) == 0 {
		return nil
	}
	why := map[string]string{} // of VMs that are there and may not be named
	var hidden error           // of fleets that cannot be looked at
	for _, f := range chosen {
		t, err := x.members(ctx, f)
		if err != nil {
			hidden = firstError(hidden, err)
			continue
		}
		have, err := t.fleet.Observe(ctx, t.desired)
		if err != nil {
			return fmt.Errorf("look at fleet %s: %w", f.Name, err)
		}
		if have.Problem != "" {
			b := have.Failed()
			b.Reason = fmt.Sprintf("whether fleet %s has VM %s cannot be told: %s", f.Name, rest[0], b.Reason)
			hidden = firstError(hidden, b)
			continue
		}
		known = append(known, leaving(t.desired, have, why)...)
	}
	for _, name := range rest {
		if why[name] != "" {
			return usagef("--target %s: %s", name, why[name])
		}
		if !slices.Contains(known, name) && hidden != nil {
			return hidden
		}
		if !slices.Contains(known, name) {
			return usagef("--target %s: the fleets have no such VM%s (there are %s)", name, suggestion(name, known), some(known))
		}
	}
	return nil
}

// leaving names the VMs that a fleet has and does not want any more, and says of its other ones why they are no targets.
func leaving(want plan.Desired, have plan.Observed, why map[string]string) (names []string) {
	for _, v := range have.VMs {
		switch {
		case v.Fleet != want.Fleet:
		case !v.Record.Retired.IsZero():
			why[v.Name] = "it is retired, and no run touches it: lkv gc removes it and leaves its disks"
		case v.Record.Replaces != "":
			i := slices.IndexFunc(want.VMs, func(w plan.WantVM) bool { return w.Ordinal == v.Ordinal })
			why[v.Name] = "it was to take a place that is not wanted any more: want that place until it is done, or let it go with lkv forget --vm " + v.Name + " --fleet " + want.Fleet
			if i >= 0 {
				why[v.Name] = "it is about to take the place of " + want.VMs[i].Name + ": name that one"
			}
		default:
			names = append(names, v.Name)
		}
	}
	return names
}

// some lists names for people, not more than they read.
func some(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more, which lkv status shows", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
