package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

func (s system) disksCommand() *cli.Command {
	return &cli.Command{
		Name: "disks", Usage: "data disks: list them, attach one again, delete one that nobody needs",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "show every data disk of the spec's vCenters, and who has it",
				Description: "Orphans are disks that no VM has and no record names, and that no fleet of the spec would use again. What lies\n" +
					"below lkv-disks of every datastore is shown, of whichever fleet or lkv.",
				Flags:  []cli.Flag{fleetFlag(), &cli.BoolFlag{Name: "orphans", Usage: "only disks that nobody has or needs"}},
				Action: s.disksList,
			},
			{
				Name: "attach", Usage: "put a disk back that stands in a VM's record and is not attached; the VM must be off",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "vm", Usage: "`NAME` of the VM"},
					&cli.StringFlag{Name: "disk", Usage: "`NAME` of the disk, as lkv disks list shows it"},
					journalFlag(),
				},
				Action: s.disksAttach,
			},
			{
				Name: "delete", Usage: "delete one orphan for good; there is no way back",
				Description: "Asks on a terminal for the path again. Refused while any VM of any datacenter has the disk, any record names it, a\n" +
					"fleet of the spec would make a VM around it, or anything cannot be read. With the file goes the empty folder beside\n" +
					"it, NAME.made, which says that the disk was made: a fleet that wants the VM again gets an empty disk. Such folders on\n" +
					"other datastores stay, and are shown.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "path", Usage: "the disk's `PATH`, \"[datastore] lkv-disks/FLEET/NAME.vmdk\""},
					&cli.StringFlag{Name: "datacenter", Usage: "the inventory path `DC` of its datacenter, when several have such a path"},
					&cli.StringFlag{Name: "yes-delete", Usage: "do not ask; the same `PATH` once more, for scripts"},
					journalFlag(),
				},
				Action: s.disksDelete,
			},
		},
	}
}

// diskStatus is one disk in the JSON of disks list.
type diskStatus struct {
	VCenter string `json:"vcenter"` // block of the spec; empty for the one of the environment
	vsphere.DataDisk
	State   string `json:"state"`      // "attached", "detached", "missing", "copy", "awaited" or "orphan"
	Awaited string `json:"awaited_by"` // the VM that would be made around it
}

// state says in a word whose a disk is.
func (d diskStatus) state() string {
	switch {
	case d.Missing:
		return "missing"
	case len(d.Attached) > 0:
		return "attached"
	case len(d.Recorded) > 0:
		return "detached"
	case len(d.Twins) > 0:
		return "copy"
	case d.Awaited != "":
		return "awaited"
	}
	return "orphan"
}

// inventory is every data disk of the vCenters of a spec.
type inventory struct {
	Disks  []diskStatus `json:"disks"`
	Unread []string     `json:"unread"` // what could not be read: an orphan may be none

	hidden *plan.Blocked // why a fleet could not be looked at; nil: all could be
}

// inventory looks at every vCenter of the spec, and at every fleet, for the VMs that are missing.
func (s system) inventory(c *cli.Context, alone bool, then func(x *sessions, all inventory) error) error {
	all, sets := inventory{Disks: []diskStatus{}, Unread: []string{}}, map[string]vsphere.Disks{}
	var x *sessions
	var missing []missingVM
	choose := func(c *cli.Context, spec specs.Spec) ([]specs.Fleet, error) {
		list, err := fleets(c, spec)
		return append(list, specs.Fleet{}), err // the last call closes the look
	}
	return s.visitFleets(c, alone, choose, func(at *sessions, f specs.Fleet) error {
		if x = at; f.Name == "" {
			all.besides(c.Context, x, sets)
			all.fill(sets, missing)
			return then(x, all)
		}
		err := x.dataDisks(c.Context, f, sets)
		var t target
		if err == nil {
			t, err = x.members(c.Context, f)
		}
		var hidden plan.Blocked
		if errors.As(refusalOf(err), &hidden) { // nothing of this fleet is known, and its other vCenters are still shown
			all.Unread = append(all.Unread, fmt.Sprintf("fleet %s: %s", f.Name, hidden.Reason))
			all.hidden = cmp.Or(all.hidden, &hidden)
			return nil
		}
		if err != nil {
			return err
		}
		have, err := t.fleet.Observe(c.Context, t.desired)
		if err != nil {
			return fmt.Errorf("look at fleet %s: %w", f.Name, err)
		}
		if have.Problem != "" {
			all.Unread = append(all.Unread, fmt.Sprintf("fleet %s: %s", f.Name, have.Problem))
		}
		missing = append(missing, notThere(t.desired, have)...)
		return nil
	})
}

// dataDisks looks at the vCenters of a fleet that are not among the sets yet, at all of them that answer.
func (x *sessions) dataDisks(ctx context.Context, f specs.Fleet, sets map[string]vsphere.Disks) (first error) {
	for _, p := range f.Placements {
		if _, done := sets[p.VCenter]; done {
			continue
		}
		client, err := x.client(ctx, p.VCenter)
		if err == nil {
			var set vsphere.Disks
			if set, err = client.DataDisks(ctx); err == nil {
				sets[p.VCenter] = set
			}
		}
		first = firstError(first, err)
	}
	return first
}

// besides looks at the vCenters of the spec that no fleet is placed in: disks may have been left there.
func (all *inventory) besides(ctx context.Context, x *sessions, sets map[string]vsphere.Disks) {
	seen := map[string]bool{"": true} // hosts have no VMs of fleets
	for name := range sets {
		seen[x.open[name].ID()] = true
	}
	for _, v := range x.spec.VCenters {
		if _, done := sets[v.Name]; done || all.hidden != nil && x.away[v.Name] != nil {
			continue // or it was said
		}
		err := x.beside(ctx, vsphere.FleetConfig{VCenter: v.Name}).Err
		if err == nil && !seen[x.open[v.Name].ID()] {
			seen[x.open[v.Name].ID()] = true
			sets[v.Name], err = x.open[v.Name].DataDisks(ctx)
		}
		if err != nil {
			all.Unread = append(all.Unread, fmt.Sprintf("vCenter %s: %v", v.Name, err))
		}
	}
}

// missingVM is a VM that a fleet wants and that is not there: it would be made around its old disks.
type missingVM struct {
	fleet, name string
	disks       []string
}

func notThere(want plan.Desired, have plan.Observed) []missingVM {
	var out []missingVM
	for _, w := range want.VMs {
		if slices.ContainsFunc(have.VMs, func(v plan.VM) bool {
			return v.Fleet == want.Fleet && v.Record.Retired.IsZero() && v.Ordinal == w.Ordinal
		}) {
			continue
		}
		m := missingVM{want.Fleet, w.Name, nil}
		for _, d := range w.Disks {
			m.disks = append(m.disks, d.Name)
		}
		out = append(out, m)
	}
	return out
}

// uses tells whether a file is one of the VM's disks, of whichever generation.
func (m missingVM) uses(file string) bool {
	_, rest, _ := strings.Cut(file, "] ")
	if path.Dir(rest) != path.Join(plan.DiskFolder, m.fleet) {
		return false
	}
	base := strings.TrimSuffix(path.Base(rest), ".vmdk")
	return slices.ContainsFunc(m.disks, func(d string) bool {
		more, ok := strings.CutPrefix(base, m.name+"-"+d)
		return ok && (more == "" || strings.HasPrefix(more, "-g") && strings.Trim(more[2:], "0123456789") == "")
	})
}

func (all *inventory) fill(sets map[string]vsphere.Disks, missing []missingVM) {
	for vcenter, set := range sets {
		all.Unread = append(all.Unread, set.Unread...)
		for _, d := range set.List {
			one := diskStatus{VCenter: vcenter, DataDisk: d}
			for _, m := range missing {
				if d.Orphan() && m.uses(d.Path) {
					one.Awaited = m.name
				}
			}
			one.State = one.state()
			all.Disks = append(all.Disks, one)
		}
	}
	slices.SortStableFunc(all.Disks, func(a, b diskStatus) int { return strings.Compare(a.VCenter, b.VCenter) })
}

func (s system) disksList(c *cli.Context) error {
	return s.inventory(c, false, func(_ *sessions, all inventory) error {
		if only := texts(c, "fleet"); len(only) > 0 {
			all.Disks = slices.DeleteFunc(all.Disks, func(d diskStatus) bool { return !slices.Contains(only, d.Fleet) })
		}
		if given(c, "orphans") {
			all.Disks = slices.DeleteFunc(all.Disks, func(d diskStatus) bool { return d.State != "orphan" })
		}
		if given(c, "json") {
			return all.shown(s.printJSON(all))
		}
		var rows [][]string
		for _, d := range all.Disks {
			rows = append(rows, []string{d.Fleet, d.Name, d.whose(), d.UUID, ui.Bytes(d.Bytes), d.Datacenter, d.Path})
		}
		for _, why := range all.Unread {
			s.note("lkv: warning: not everything could be read, so that an orphan may be none: %s\n", why)
		}
		return all.shown(ui.Table(s.Stdout, s.style(), []string{"FLEET", "DISK", "STATE", "UUID", "SIZE", "DATACENTER", "PATH"}, rows))
	})
}

// shown is how a list ends: a fleet that could not be looked at is refused.
func (all inventory) shown(err error) error {
	if err == nil && all.hidden != nil {
		return *all.hidden
	}
	return err
}

// whose is the state with the VMs it is about.
func (d diskStatus) whose() string {
	switch d.State {
	case "attached":
		return "attached to " + strings.Join(d.Attached, ", ")
	case "detached":
		return "recorded by " + strings.Join(d.Recorded, ", ") + ", not attached"
	case "missing":
		return "recorded by " + strings.Join(d.Recorded, ", ") + ", not found"
	case "copy":
		return "has the UUID of a disk of " + strings.Join(d.Twins, ", ")
	case "awaited":
		return "waits for " + d.Awaited
	}
	return d.State
}

func (s system) disksAttach(c *cli.Context) error {
	vm, disk := c.String("vm"), c.String("disk")
	if vm == "" || disk == "" {
		return usagef("say which disk of which VM: lkv disks attach --vm NAME --disk NAME")
	}
	list := []reconcile.Resumed{}
	var hidden error // a fleet that could not be looked at, and may have the VM
	err := s.withJournal(c, func(j *runJournal) error {
		return s.eachOwn(c, true, func(v visit) error {
			if v.blocked != nil {
				hidden = v.blocked[0]
				return nil
			}
			have, err := v.target.fleet.Observe(c.Context, v.desired)
			if err != nil || !slices.ContainsFunc(have.VMs, func(x plan.VM) bool { return x.Name == vm && x.Fleet == v.desired.Fleet }) {
				return err
			}
			res, err := s.act(c, v, j, reattach(vm, disk))
			list = append(list, res)
			return err
		})
	})
	if err == nil && len(list) == 0 && hidden != nil {
		return hidden
	}
	if err == nil && len(list) == 0 {
		err = usagef("--vm %s: no fleet of the spec has such a VM: lkv status shows those there are", vm)
	}
	return s.printResumed(c, list, wording{done: "goes on with the next lkv reconcile", nothing: fmt.Sprintf("disk %s of %s is attached already", disk, vm), not: "nothing was attached", each: "attached"}, err)
}

// reattach plans to put a disk back that stands in the record of a VM which is off and not attached.
func reattach(vm, disk string) reconcile.Decision {
	return func(want plan.Desired, have plan.Observed, now time.Time) plan.Request {
		refuse := func(code plan.Code, clear, format string, args ...any) plan.Request {
			return plan.Request{Blocked: []plan.Blocked{{VM: vm, Code: code, Reason: fmt.Sprintf(format, args...), Clear: clear}}}
		}
		mine := slices.DeleteFunc(slices.Clone(have.VMs), func(v plan.VM) bool { return v.Name != vm || v.Fleet != want.Fleet })
		switch {
		case have.Problem != "":
			b := have.Failed()
			return refuse(b.Code, b.Clear, "%s", b.Reason)
		case len(mine) != 1:
			return refuse(plan.R22, "rename the one that does not belong to the fleet", "%d VMs of the fleet have this name", len(mine))
		}
		v := mine[0]
		r, live := v.Record, v.Record.Owner != "" && v.Record.Expires.After(now)
		i := slices.IndexFunc(r.Disks, func(d plan.DiskRecord) bool { return d.Name == disk })
		switch {
		case i < 0:
			return refuse(plan.R06, "name a disk that lkv disks list shows for this VM", "its record names no disk %s", disk)
		case slices.ContainsFunc(v.Disks, func(d plan.Disk) bool {
			return d.UUID != "" && plan.SerialOf(d.UUID) == plan.SerialOf(r.Disks[i].UUID)
		}):
			return plan.Request{}
		case live && r.Owner != want.Claimer:
			return refuse(plan.R16, "wait until that run ends or its claim expires", "%s has claimed it until %s", r.Owner, r.Expires.UTC().Format(time.RFC3339))
		case len(v.Busy) > 0:
			return refuse(plan.R08, "see to it in the vSphere client", "%s", v.Busy[0])
		case v.Power != plan.Off:
			return refuse(plan.R08, "power it off in the vSphere client: disks are only attached while a VM is off", "it is %s", v.Power)
		case !r.Started.IsZero() && r.Rolled.IsZero() && r.Previous == "":
			return refuse(plan.R06, "lkv reconcile attaches its disks", "it is being made")
		}
		return plan.Request{Rolls: []plan.Roll{{VM: vm, Action: plan.GoOn, Reason: r.Disks[i].Path, Steps: attaching(want, v, r.Disks[i], now)}}}
	}
}

// attaching returns claim, attach and release. Of a roll that stopped halfway the claim is left to expire: its start
// stays, and the next run goes on.
func attaching(want plan.Desired, v plan.VM, d plan.DiskRecord, now time.Time) []plan.Step {
	claim := plan.Claim{Owner: want.Claimer, Epoch: v.Record.Epoch + 1, Started: now, TTL: want.TTL, Expires: now.Add(want.TTL)}
	attach, release := plan.AttachDisk{Disk: d}, plan.Release{}
	claim.Name, attach.Name, release.Name = v.Name, v.Name, v.Name
	if !v.Record.Started.IsZero() {
		claim.Started = v.Record.Started
		return []plan.Step{claim, attach}
	}
	return []plan.Step{claim, attach, release}
}

func (s system) disksDelete(c *cli.Context) error {
	file, yes := c.String("path"), c.String("yes-delete")
	switch {
	case file == "":
		return usagef("name the disk: lkv disks delete --path \"[datastore] lkv-disks/FLEET/NAME.vmdk\"; lkv disks list --orphans shows them")
	case yes != "" && yes != file:
		return usagef("--yes-delete names another disk than --path: write the same path twice")
	case yes == "" && !s.interactive():
		return usagef("there is no terminal to ask on: write the path once more, with --yes-delete, to delete the disk for good")
	}
	return s.inventory(c, true, func(x *sessions, all inventory) error {
		d, err := all.one(file, c.String("datacenter"))
		if err != nil {
			return err
		}
		if yes == "" {
			ok, err := s.typed(fmt.Sprintf("%s (%s, %s, UUID %s) will be deleted for good. There is no way back.", d.Path, d.Datacenter, ui.Bytes(d.Bytes), d.UUID), d.Path)
			if err != nil || !ok {
				return firstError(err, refused())
			}
		}
		client, err := x.client(c.Context, d.VCenter)
		if err != nil {
			return err
		}
		doc := deletedDisk{Deleted: d}
		err = s.withJournal(c, func(j *runJournal) error {
			if j != nil {
				if err := client.Fleet(vsphere.FleetConfig{Now: s.Now}).Journal(j.w, journal.Fleet{Name: d.Fleet, Claimer: x.who}); err != nil {
					return journalError(err)
				}
			}
			return doc.carryOut(c.Context, client)
		})
		if err != nil {
			return err
		}
		return s.printDeleted(given(c, "json"), doc)
	})
}

// deletedDisk is the JSON of disks delete.
type deletedDisk struct {
	Deleted diskStatus    `json:"deleted"`
	Place   vsphere.Freed `json:"place"` // whether an empty disk may be made there
}

// carryOut deletes the disk, then what says that it was made: never the other way round, because a file without that
// would pass for a disk that nobody has used.
func (d *deletedDisk) carryOut(ctx context.Context, client *vsphere.Client) (err error) {
	if err := client.DeleteDataDisk(ctx, d.Deleted.Datacenter, d.Deleted.Path); err != nil {
		return err
	}
	if d.Place, err = client.FreePlace(ctx, d.Deleted.Datacenter, d.Deleted.Path); err != nil {
		return fmt.Errorf("%s is deleted, but no disk is made in its place while the folder %s is there (in the vSphere client remove it, when it is empty): %w",
			d.Deleted.Path, strings.TrimSuffix(d.Deleted.Path, ".vmdk")+".made", err)
	}
	return nil
}

func (s system) printDeleted(asJSON bool, d deletedDisk) error {
	if asJSON {
		return s.printJSON(d)
	}
	text := d.Deleted.Path + " is deleted; an empty disk may be made in its place\n"
	if len(d.Place.Left) > 0 {
		text = d.Deleted.Path + " is deleted; no disk is made in its place yet\n"
	}
	for _, m := range d.Place.Left {
		text += fmt.Sprintf("  %s stays: %s. When that data is given up as well, remove this folder in the vSphere client\n", m.Path, m.Why)
	}
	_, err := fmt.Fprint(s.Stdout, text)
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// one finds the one disk of that path, which must be an orphan. The executor looks again.
func (all inventory) one(file, datacenter string) (diskStatus, error) {
	found := slices.DeleteFunc(slices.Clone(all.Disks), func(d diskStatus) bool {
		return d.Path != file || datacenter != "" && d.Datacenter != datacenter && path.Base(d.Datacenter) != datacenter
	})
	switch {
	case len(all.Unread) > 0:
		return diskStatus{}, plan.Blocked{Code: plan.R15, Reason: "somebody may use the disk: " + all.Unread[0], Clear: "bring it back, or take it out of the inventory when it is gone for good"}
	case len(found) == 0:
		return diskStatus{}, usagef("there is no disk %s: lkv disks list shows those there are", file)
	case len(found) > 1:
		return diskStatus{}, usagef("%s is there in %d datacenters, say which with --datacenter: %s and %s", file, len(found), found[0].Datacenter, found[1].Datacenter)
	}
	d := found[0]
	if d.State == "orphan" {
		return d, nil
	}
	verb := "is "
	if d.State == "copy" {
		verb = ""
	}
	b := plan.Blocked{Code: plan.R19, Reason: fmt.Sprintf("%s is no orphan: it %s%s", d.Path, verb, d.whose()), Clear: "lkv gc when that VM is retired; else it is in use"}
	if d.State == "awaited" {
		b.Code, b.Reason, b.Clear = plan.R06, fmt.Sprintf("fleet %s wants VM %s, which would be made around %s", d.Fleet, d.Awaited, d.Path), "take the VM out of the fleet first"
	}
	return d, b
}
