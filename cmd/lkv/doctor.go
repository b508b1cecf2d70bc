package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

func (s system) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check everything that a run needs, and say what to do about what is wrong; changes nothing",
		Description: "Connection, certificate, API version and clock of every vCenter; stores, and the hosts that reach them; images on their\n" +
			"channels; placements; privileges by what they are for; the guest of every VM.\n" +
			"Exit code 0: nothing that fails. 1: something would fail.",
		Flags:  []cli.Flag{fleetFlag()},
		Action: s.doctor,
	}
}

// States of a check.
const (
	fine  = "ok"
	shaky = "warn"
	wrong = "fail"
)

// diagnosis is one thing that doctor looked at.
type diagnosis struct {
	Check  string `json:"check"`  // "connection", "certificate", "version", "clock", "store", "image", "placement", "privileges" or "guest"
	Object string `json:"object"` // what it is about
	State  string `json:"state"`  // "ok", "warn" or "fail"
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	Code   string `json:"code,omitempty"` // refusal that a run would end in
}

// doctor collects checks: what fails is no reason not to look further.
type doctor struct {
	system
	ctx   context.Context
	x     *sessions
	spec  specs.Spec
	found []diagnosis
}

func (s system) doctor(c *cli.Context) (err error) {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	chosen := spec.Fleets
	if len(chosen) > 0 {
		if chosen, err = fleets(c, spec); err != nil {
			return err
		}
	}
	d := &doctor{system: s, ctx: c.Context, spec: spec, x: s.sessions(spec, s.logger(c)), found: []diagnosis{}}
	defer func() { err = errors.Join(err, d.x.close(c.Context)) }()
	d.x.who = "lkv doctor" // it claims nothing
	up := map[string]bool{}
	for _, name := range vcenters(spec, chosen) {
		up[name] = d.vcenter(name)
	}
	for _, st := range spec.Stores {
		if up[st.VCenter] && st.Kind() != specs.RegistryStore {
			d.store(st)
		}
	}
	for _, f := range chosen {
		if !slices.ContainsFunc(f.Placements, func(p specs.Placement) bool { return !up[p.VCenter] }) {
			d.fleet(f)
		}
	}
	if c.Err() != nil {
		return context.Cause(c.Context)
	}
	if err := d.print(given(c, "json")); err != nil {
		return err
	}
	if slices.ContainsFunc(d.found, func(k diagnosis) bool { return k.State == wrong }) {
		return &exit{code: exitError}
	}
	return nil
}

// vcenters names the vCenter blocks that the fleets and stores use, each once.
func vcenters(spec specs.Spec, chosen []specs.Fleet) []string {
	var names []string
	for _, f := range chosen {
		for _, p := range f.Placements {
			names = append(names, p.VCenter)
		}
	}
	for _, st := range spec.Stores {
		if st.Kind() != specs.RegistryStore {
			names = append(names, st.VCenter)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (d *doctor) add(state, kind, object, remedy, format string, args ...any) {
	d.found = append(d.found, diagnosis{Check: kind, Object: object, State: state, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

// fail notes an error, with the code and the remedy of one that is a refusal.
func (d *doctor) fail(kind, object, remedy string, err error) {
	k := diagnosis{Check: kind, Object: object, State: wrong, Text: err.Error(), Remedy: remedy}
	var b plan.Blocked
	if errors.As(vsphere.Refused(err), &b) {
		k.Text, k.Remedy, k.Code = b.Reason, first(b.Clear, remedy), string(b.Code)
	}
	d.found = append(d.found, k)
}

const (
	certificateSoon = 30 * 24 * time.Hour
	clockOff        = 5 * time.Second
)

// vcenter checks one vCenter and tells whether it can be asked more.
func (d *doctor) vcenter(name string) bool {
	label := first(name, "vCenter")
	cfg, err := d.connection(d.spec, name)
	if err != nil {
		d.fail("connection", label, "", err)
		return false
	}
	label = cfg.URL
	client, err := d.x.client(d.ctx, name)
	if err != nil {
		d.fail("connection", label, "see the vcenter block of the spec, or LKV_VCENTER_URL and its like", err)
		return false
	}
	d.add(fine, "connection", label, "", "logged in as %s", cfg.Username)
	if client.VCenter() {
		d.add(fine, "version", label, "", "%s, API %s", client.About(), client.API())
	} else {
		d.add(wrong, "version", label, "name a vCenter: VMs are managed through one only; a host by itself serves as a store", "%s is no vCenter", client.About())
	}
	d.certificate(label, cfg)
	d.clock(label, client)
	return true
}

func (d *doctor) certificate(label string, cfg vsphere.Config) {
	end, err := vsphere.CertificateEnd(d.ctx, cfg)
	left := end.Sub(d.Now())
	switch {
	case err != nil:
		d.fail("certificate", label, "", err)
	case end.IsZero():
		d.add(shaky, "certificate", label, "use https", "the connection is not encrypted")
	case left < 0:
		d.add(wrong, "certificate", label, "renew it in vCenter", "ended %s", end.UTC().Format(time.DateOnly))
	case cfg.Insecure:
		d.add(shaky, "certificate", label, "write ca_file or thumbprint instead of insecure = true", "is not verified; it ends %s", end.UTC().Format(time.DateOnly))
	case left < certificateSoon:
		d.add(shaky, "certificate", label, "renew it in vCenter", "ends %s, in %d days", end.UTC().Format(time.DateOnly), left/(24*time.Hour))
	default:
		d.add(fine, "certificate", label, "", "trusted, ends %s", end.UTC().Format(time.DateOnly))
	}
}

// clock compares the clocks: claims expire by the clocks of the machines that run lkv.
func (d *doctor) clock(label string, client *vsphere.Client) {
	before := d.Now()
	there, err := client.Time(d.ctx)
	if err != nil {
		d.fail("clock", label, "", err)
		return
	}
	off := there.Sub(before.Add(d.Now().Sub(before) / 2)).Abs()
	state, remedy := fine, ""
	if off > clockOff {
		state, remedy = shaky, "let this machine and vCenter follow the same time servers"
	}
	if off > d.spec.Reconcile.ClaimTTL {
		state = wrong
	}
	d.add(state, "clock", label, remedy, "differs by %s", ui.Duration(off))
}

func (d *doctor) store(st specs.Store) {
	store, err := d.x.store(d.ctx, st)
	if err != nil {
		d.fail("store", st.Name, "see the store block at "+st.Pos.String(), err)
		return
	}
	lists, ok := store.(*vsphere.Store)
	if !ok {
		d.library(st, store)
		return
	}
	all, err := lists.Reach(d.ctx)
	if err != nil {
		d.fail("store", st.Name, "", err)
		return
	}
	for _, r := range all {
		switch {
		case r.Out != "":
			d.add(shaky, "store", st.Name, "bring the datastore back", "datastore %s is %s", r.Datastore, r.Out)
		case r.Hosts == 0:
			d.add(wrong, "store", st.Name, "mount it on the hosts that run the VMs", "no host that can write mounts datastore %s", r.Datastore)
		default:
			d.add(fine, "store", st.Name, "", "datastore %s: %s free, %s", r.Datastore, ui.Bytes(r.Free), count(r.Hosts, "host"))
		}
	}
}

func (d *doctor) library(st specs.Store, store push.Store) {
	free, err := store.Free(d.ctx)
	if err != nil {
		d.fail("store", st.Name, "", err)
		return
	}
	d.add(fine, "store", st.Name, "", "content library %s: %s free", st.Library, ui.Bytes(free))
}

// fleet checks what a run of one fleet needs.
func (d *doctor) fleet(f specs.Fleet) {
	t, err := d.x.target(d.ctx, f)
	if err == nil && t.blocked != nil {
		err = t.blocked[0]
	}
	if err != nil {
		d.fail("image", f.Name, "", err)
		if t, err = d.x.members(d.ctx, f); err != nil { // VMs can be looked at without an image
			d.fail("placement", f.Name, "see the placement block of the fleet", err)
			return
		}
	} else {
		d.image(f, t.desired)
	}
	have, err := t.look(d.ctx)
	if err == nil && have.Problem != "" {
		err = errors.New(have.Problem)
	}
	if err != nil {
		d.fail("guest", f.Name, "remove the cause, or wait until vCenter answers", err)
		have = plan.Observed{}
	} else {
		defer d.guests(t.desired, have)
	}
	done := map[plan.Placement]bool{}
	for _, w := range t.desired.VMs {
		if !done[spot(w)] {
			done[spot(w)] = true
			d.place(t.desired, w, have)
		}
	}
}

// spot is the placement of a VM, whichever of its datastores the VM got.
func spot(w plan.WantVM) plan.Placement {
	w.Place.Datastore = ""
	return w.Place
}

func (d *doctor) image(f specs.Fleet, want plan.Desired) {
	from := "channel " + f.Channel
	if f.Digest != "" {
		from = "its digest"
	}
	object := fmt.Sprintf("%s of fleet %s", f.Image, f.Name)
	for _, w := range want.VMs {
		if want.Image.Paths[w.Place.Store] == "" {
			d.found = append(d.found, diagnosis{Check: "image", Object: object, State: wrong, Code: string(plan.R01), Remedy: d.x.pushing(f),
				Text: fmt.Sprintf("ISO %s is not on store %s", ui.Short(want.Image.Digest), w.Place.Store)})
			return
		}
	}
	if !want.Image.Known {
		d.found = append(d.found, diagnosis{Check: "image", Object: object, State: wrong, Code: string(plan.R02), Remedy: d.x.pushing(f),
			Text: fmt.Sprintf("ISO %s has no manifest", ui.Short(want.Image.Digest))})
		return
	}
	d.add(fine, "image", object, "", "%s names ISO %s, which is on every store that the VMs use", from, ui.Short(want.Image.Digest))
}

// place checks one placement: what it names, the hosts, the privileges there.
func (d *doctor) place(want plan.Desired, w plan.WantVM, have plan.Observed) {
	object := path.Join(want.Fleet, w.Place.Datacenter, first(w.Place.ResourcePool, w.Place.Host, w.Place.Cluster))
	client, err := d.x.client(d.ctx, w.Place.VCenter)
	if err != nil {
		d.fail("placement", object, "", err)
		return
	}
	iso := want.Image.Paths[w.Place.Store]
	p, err := client.Placement(d.ctx, w, iso)
	switch {
	case err != nil:
		d.fail("placement", object, "correct the placement or vm block of the fleet", err)
		return
	case p.Fit == 0:
		d.add(wrong, "placement", object, "put ISO and VM on datastores that the hosts share, or end the maintenance", "no host of %s can run the VMs: %s", p.Where, strings.Join(p.Unfit, "; "))
		return
	case len(p.Unfit) > 0:
		d.add(shaky, "placement", object, "VMs cannot move there", "%s of %s can run the VMs; not: %s", count(p.Fit, "host"), p.Where, strings.Join(p.Unfit, "; "))
	default:
		d.add(fine, "placement", object, "", "%s of %s can run the VMs", count(p.Fit, "host"), p.Where)
	}
	var mine []plan.VM
	for _, v := range have.VMs {
		if i := slices.IndexFunc(want.VMs, func(x plan.WantVM) bool { return x.Name == v.Name }); v.Fleet == want.Fleet && i >= 0 && spot(want.VMs[i]) == spot(w) {
			mine = append(mine, v)
		}
	}
	d.privileges(client, want.Rollout, object, w, iso, mine)
}

// needed tells whether a fleet goes through a phase.
func needed(r plan.Rollout, phase string) bool {
	switch phase {
	case vsphere.PhaseDestroy, vsphere.PhaseGrow:
		return false
	case vsphere.PhaseRetire:
		return r.Strategy == plan.BlueGreen || r.ScaleIn > 0
	case vsphere.PhaseHand:
		return r.Strategy == plan.BlueGreen && r.Disk == plan.HandOver
	}
	return true
}

// without says what does not work without the privileges of a phase that is not needed by every run.
var without = map[string]string{
	vsphere.PhaseDestroy: "lkv gc cannot remove retired VMs; everything else works, and no VM can be destroyed by lkv",
	vsphere.PhaseGrow:    "disks cannot be made larger",
	vsphere.PhaseRetire:  "VMs cannot be retired, which this fleet does not do",
	vsphere.PhaseHand:    "disks cannot move to another VM, which this fleet does not do",
}

func (d *doctor) privileges(client *vsphere.Client, r plan.Rollout, object string, w plan.WantVM, iso string, vms []plan.VM) {
	lacks, err := client.Lacks(d.ctx, w, iso, vms, func(vsphere.Privilege) bool { return true })
	if err != nil {
		d.fail("privileges", object, "", err)
		return
	}
	missing := map[string]int{}
	for _, l := range lacks {
		missing[l.Phase]++
		if needed(r, l.Phase) {
			d.found = append(d.found, diagnosis{Check: "privileges", Object: object, State: wrong, Code: string(plan.R20),
				Text:   fmt.Sprintf("%s is missing on %s, to %s", l.Privilege, l.On, l.Phase),
				Remedy: "give the role of lkv's user this privilege, on that object and its parents"})
		}
	}
	for _, phase := range []string{vsphere.PhaseGrow, vsphere.PhaseRetire, vsphere.PhaseHand} {
		if missing[phase] > 0 && !needed(r, phase) {
			d.add(fine, "privileges", object, "", "not those to %s: %s", phase, without[phase])
		}
	}
	enough := !slices.ContainsFunc(lacks, func(l vsphere.Lack) bool { return needed(r, l.Phase) })
	switch {
	case !enough:
	case missing[vsphere.PhaseDestroy] > 0:
		d.add(fine, "privileges", object, "", "all that runs need; %s", without[vsphere.PhaseDestroy])
	default:
		d.add(fine, "privileges", object, "", "all; a role without VirtualMachine.Inventory.Delete, which cannot destroy a VM, suffices for everything but lkv gc")
	}
}

// guests checks the VMs that there are.
func (d *doctor) guests(want plan.Desired, have plan.Observed) {
	for _, v := range conditions(want, have, d.Now()) {
		object := v.Fleet + "/" + v.VM
		switch {
		case v.Ready:
			d.add(fine, "guest", object, "", "ready, runs ISO %s", ui.Short(v.Image))
		case slices.ContainsFunc(v.Conditions, func(c condition) bool { return c.Type == "retired" || c.Type == "extra" }):
		case slices.ContainsFunc(v.Conditions, func(c condition) bool { return c.Type == "foreign" }):
			d.add(wrong, "guest", object, "rename that VM, adopt it with lkv adopt, or give the fleet other names", "%s", v.Why)
		default:
			d.add(shaky, "guest", object, "lkv plan says what a run would do about it", "%s", v.Why)
		}
	}
}

func (d *doctor) print(asJSON bool) error {
	if asJSON {
		return d.printJSON(map[string][]diagnosis{"checks": d.found})
	}
	style, text, sums := d.style(), "", map[string]int{}
	for _, k := range d.found {
		sums[k.State]++
		word := map[string]func(string) string{fine: style.Good, shaky: style.Warn, wrong: style.Bad}[k.State](fmt.Sprintf("%-4s", k.State))
		code := ""
		if k.Code != "" {
			code = k.Code + ": "
		}
		text += fmt.Sprintf("%s  %s %s: %s%s\n", word, k.Check, style.Bold(k.Object), code, k.Text)
		if k.Remedy != "" && k.State != fine {
			text += "      " + k.Remedy + "\n"
		}
	}
	_, err := fmt.Fprintf(d.Stdout, "%s%d ok, %d warn, %d fail\n", text, sums[fine], sums[shaky], sums[wrong])
	return err
}
