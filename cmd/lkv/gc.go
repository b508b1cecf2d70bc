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
		Name: "gc", Usage: "remove ISOs that no channel, no channel's history, no VM and no fleet of the spec names",
		Description: "It looks at the images of the spec on all of its stores. VMs of every datacenter that mounts a datastore count,\n" +
			"those that are off and templates too. When anything cannot be read, nothing is removed. Disks are never removed.\n" +
			"Registry stores are left to the registry's own retention.\n" +
			"Specs that share a folder on a datastore must have images of different names. Do not push at the same moment.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "isos", Usage: "remove ISOs; nothing else can be removed yet"},
			&cli.DurationFlag{Name: "older-than", Value: 7 * 24 * time.Hour, Usage: "keep what is younger than the time `D`, for example 720h; at least 1h"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
		},
		Action: s.gc,
	}
}

func (s system) gc(c *cli.Context) error {
	if !given(c, "isos") {
		return usagef("say what to remove: lkv gc --isos")
	}
	if c.Duration("older-than") < time.Hour {
		return usagef("--older-than %s: write 1h or more, so that an ISO that was pushed just now has its channel", c.Duration("older-than"))
	}
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	clean := push.Cleaning{OlderThan: c.Duration("older-than"), Now: s.Now(), DryRun: given(c, "dry-run"), Sleep: clock{s.Now}.Sleep}
	clean.Images, clean.Keep = named(spec)
	var removed, kept []push.Found
	err = s.withStores(c, spec, func(stores []push.Store, v shelves) (err error) {
		for _, st := range v.list {
			s.note("store %s is a registry: what it keeps is for its own retention to say\n", st.Name)
		}
		clean.Stores = stores
		removed, kept, err = push.Clean(c.Context, clean)
		return err
	})
	if err != nil && len(removed) == 0 {
		return err
	}
	return errors.Join(err, s.printCleaned(given(c, "json"), clean.DryRun, removed, kept))
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

func (s system) printCleaned(asJSON, dry bool, removed, kept []push.Found) error {
	if asJSON {
		return s.printJSON(struct {
			DryRun  bool         `json:"dry_run"`
			Removed []push.Found `json:"removed"` // what would be, in a dry run
			Kept    []push.Found `json:"kept"`
		}{dry, append([]push.Found{}, removed...), append([]push.Found{}, kept...)})
	}
	word, total := "removed", int64(0)
	if dry {
		word = "would be removed"
	}
	var rows [][]string
	for _, f := range removed {
		total += f.Bytes
		rows = append(rows, []string{f.Image, f.Store, ui.Short(f.SHA256), ui.Bytes(f.Bytes), word})
	}
	for _, f := range kept {
		rows = append(rows, []string{f.Image, f.Store, ui.Short(f.SHA256), ui.Bytes(f.Bytes), "kept: " + f.Why})
	}
	if err := ui.Table(s.Stdout, s.style(), []string{"IMAGE", "STORE", "ISO", "SIZE", "WHAT"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.Stdout, "%d ISOs %s (%s), %d kept\n", len(removed), word, ui.Bytes(total), len(kept))
	return err
}
