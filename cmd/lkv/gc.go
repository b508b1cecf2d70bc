package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/specs"
)

func (s system) gcCommand() *cli.Command {
	return &cli.Command{
		Name: "gc", Usage: "remove retired VMs whose time is over, and ISOs that no channel, no channel's history, no VM and no fleet of the spec names",
		Description: "Retired VMs go when retire_ttl of their fleet is over, and not while the fleet stands still. Disks are never removed:\n" +
			"those of a VM that goes stay as files, and become orphans that lkv disks list --orphans shows.\n" +
			"For ISOs it looks at the images of the spec on all of its stores. VMs of every datacenter that mounts a datastore count,\n" +
			"those that are off and templates too. When anything cannot be read, nothing is removed.\n" +
			"Registry stores are left to the registry's own retention.\n" +
			"Specs that share a folder on a datastore must have images of different names. Do not push at the same moment.\n" +
			"On a terminal it shows what would go and asks; elsewhere, in a crontab for example, it wants --yes.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "isos", Usage: "only ISOs"},
			&cli.BoolFlag{Name: "vms", Usage: "only retired VMs"},
			&cli.StringSliceFlag{Name: "fleet", Usage: "only retired VMs of the fleet `NAME`; may be repeated"},
			&cli.DurationFlag{Name: "older-than", Usage: "keep what is younger than the time `D`, for example 720h (default 168h for ISOs, at least 1h; retire_ttl of the fleet for VMs)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask; needed where there is no terminal"},
			journalFlag(),
		},
		Action: s.gc,
	}
}

// gcDoc is the JSON of gc.
type gcDoc struct {
	DryRun  bool         `json:"dry_run"`
	Removed []push.Found `json:"removed"` // what would be, in a dry run
	Kept    []push.Found `json:"kept"`
	VMs     []retiredVM  `json:"vms"`

	onlyVMs bool // ISOs were not looked at
}

func (s system) gc(c *cli.Context) error {
	isos, vms := given(c, "isos"), given(c, "vms")
	switch one := len(texts(c, "fleet")) > 0; {
	case one && isos:
		return usagef("--fleet and --isos: an ISO may be every fleet's; write --fleet to remove retired VMs, --isos to remove ISOs")
	case one:
		vms = true
	case !isos && !vms:
		isos, vms = true, true
	}
	if err := s.checkClean(c, isos); err != nil {
		return err
	}
	dry := given(c, "dry-run")
	if !dry && s.interactive() && !given(c, "yes") {
		doc, err := s.clean(c, isos, vms, true)
		if err == nil {
			err = s.printCleaned(false, doc)
		}
		if err != nil || doc.gone() == 0 {
			return firstError(err, doc.code())
		}
		if ok, err := s.typed("", "yes"); err != nil || !ok {
			return firstError(err, refused())
		}
	}
	var doc gcDoc
	clean := func(s system) (err error) {
		doc, err = s.clean(c, isos, vms, dry)
		return err
	}
	var err error
	if dry {
		err = clean(s)
	} else {
		err = s.journaled(c, clean)
	}
	if err != nil && doc.gone() == 0 {
		return err
	}
	return firstError(errors.Join(err, s.printCleaned(given(c, "json"), doc)), doc.code())
}

// checkClean refuses what would remove too much, or unasked.
func (s system) checkClean(c *cli.Context, isos bool) error {
	if isos && c.IsSet("older-than") && c.Duration("older-than") < time.Hour {
		return usagef("--older-than %s: write 1h or more, so that an ISO that was pushed just now has its channel", c.Duration("older-than"))
	}
	if c.Duration("older-than") < 0 {
		return usagef("--older-than %s: write a time that is not below zero", c.Duration("older-than"))
	}
	if !given(c, "dry-run") && !given(c, "yes") && !s.interactive() {
		return usagef("there is no terminal to ask on: write --yes, or --dry-run to see what would be removed")
	}
	return nil
}

// clean removes retired VMs first: each of them holds on to an ISO.
func (s system) clean(c *cli.Context, isos, vms, dry bool) (doc gcDoc, err error) {
	doc = gcDoc{DryRun: dry, onlyVMs: !isos, Removed: []push.Found{}, Kept: []push.Found{}, VMs: []retiredVM{}}
	spec, err := s.spec(c)
	if err != nil {
		return doc, err
	}
	if vms && (len(spec.Fleets) > 0 || !isos) {
		if doc.VMs, err = s.cleanVMs(c, dry); err != nil {
			return doc, err
		}
	}
	if !isos || len(spec.Images) == 0 && vms {
		return doc, nil
	}
	clean := push.Cleaning{OlderThan: 7 * 24 * time.Hour, Now: s.Now(), DryRun: dry, Sleep: clock{s.Now}.Sleep}
	if c.IsSet("older-than") {
		clean.OlderThan = c.Duration("older-than")
	}
	clean.Images, clean.Keep = named(spec)
	return doc, refusalOf(s.withStores(c, spec, func(stores []push.Store, v shelves) error {
		for _, st := range v.list {
			s.note("store %s is a registry: what it keeps is for its own retention to say\n", st.Name)
		}
		clean.Stores = stores
		removed, kept, err := push.Clean(c.Context, clean)
		doc.Removed, doc.Kept = append(doc.Removed, removed...), append(doc.Kept, kept...)
		return err
	}))
}

// gone counts what was removed, or would be.
func (d gcDoc) gone() int {
	n := len(d.Removed)
	for _, v := range d.VMs {
		if v.Removed {
			n++
		}
	}
	return n
}

// code is the exit code: a VM that could not go counts.
func (d gcDoc) code() error {
	code := exitOK
	for _, v := range d.VMs {
		switch {
		case v.failed:
			return &exit{code: exitError}
		case v.Code != "":
			code = exitRefused
		}
	}
	if code == exitOK {
		return nil
	}
	return &exit{code: code}
}

// named returns the images of a spec and the digests that its fleets name.
func named(spec specs.Spec) (images, digests []string) {
	for _, i := range spec.Images {
		images = append(images, i.Name)
	}
	for _, f := range spec.Fleets {
		if f.Digest != "" {
			digests = append(digests, strings.TrimPrefix(f.Digest, "sha256:"))
		}
	}
	return images, digests
}

func (s system) printCleaned(asJSON bool, d gcDoc) error {
	if asJSON {
		return s.printJSON(d)
	}
	word, total := "removed", int64(0)
	if d.DryRun {
		word = "would be removed"
	}
	if err := s.printRetired(d, word); err != nil {
		return err
	}
	if d.onlyVMs {
		return nil
	}
	var rows [][]string
	for _, f := range d.Removed {
		total += f.Bytes
		rows = append(rows, []string{f.Image, f.Store, ui.Short(f.SHA256), ui.Bytes(f.Bytes), word})
	}
	for _, f := range d.Kept {
		rows = append(rows, []string{f.Image, f.Store, ui.Short(f.SHA256), ui.Bytes(f.Bytes), "kept: " + f.Why})
	}
	if len(rows) > 0 {
		if err := ui.Table(s.Stdout, s.style(), []string{"IMAGE", "STORE", "ISO", "SIZE", "WHAT"}, rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.Stdout, "%d ISOs %s (%s), %d kept\n", len(d.Removed), word, ui.Bytes(total), len(d.Kept))
	return err
}
