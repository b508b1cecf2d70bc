package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// Facts are what the stores say about the image that a fleet follows.
type Facts struct {
	Digest   string             // SHA-256 of the ISO that the channel names, or that the fleet pins; "sha256:" in front is allowed
	Manifest *manifest.Manifest // found beside the ISO; nil when there is none
	Paths    map[string]string  // name of a store block -> "[ds] lkv/worker/<sha256>.iso", only where that ISO lies
}

// Pick resolves what a placement says about datastores (a name, a glob, an inventory path, a datastore cluster) to one
// datastore's name. It is asked for every VM, also for those that exist: a data disk that exists is found under its
// name on any datastore, so a pick that changes between runs moves nothing.
type Pick func(p specs.Placement, datastore string, what Load) (string, error)

// Load is what is to lie on a datastore.
type Load struct {
	Name  string   // of the VM, or VM/disk: the same one belongs where it was picked for before
	Files []string // names of its data disks' files
	Bytes int64    // that it may come to take
}

// DesiredOf turns a validated fleet into what the planner wants. who is the owner of the claims that the run writes.
// A nil pick takes names as they are and refuses globs. It refuses, with every reason at once, what the fleet asks for
// and this version does not do.
func DesiredOf(spec specs.Spec, f specs.Fleet, facts Facts, who string, pick Pick) (plan.Desired, error) {
	if err := supported(f); err != nil {
		return plan.Desired{}, err
	}
	digest := strings.TrimPrefix(facts.Digest, "sha256:")
	if pinned := strings.TrimPrefix(f.Digest, "sha256:"); pinned != "" && pinned != digest {
		return plan.Desired{}, fmt.Errorf("fleet %s: it pins ISO %s, the facts are about %s", f.Name, pinned, digest)
	}
	members := f.Members()
	d := plan.Desired{
		Fleet: f.Name, Claimer: who, TTL: spec.Reconcile.ClaimTTL,
		Image: imageOf(f.Image, digest, facts),
		Rollout: plan.Rollout{
			Strategy: f.Rollout.Strategy, MaxUnavailable: max(1, f.Rollout.MaxUnavailable.Of(len(members))),
			Canaries: f.Rollout.Canaries, Bake: f.Rollout.Bake, MaxFailed: f.Rollout.MaxFailed,
			OnFailure: f.Rollout.OnFailure, Progress: f.Rollout.ProgressDeadline, MaxAge: f.MaxAge, Heal: f.HealAfter,
			ScaleIn: scaleIn(f.ScaleIn.Max, len(members)), Drain: f.Drain != nil,
			Grace: f.Rollout.Grace, Timeout: f.Ready.Timeout, Settle: f.Ready.Settle,
			NoTools: !f.Ready.Tools, NoMounted: !f.Ready.Mounted,
		},
	}
	if d.Rollout.Strategy == plan.BlueGreen {
		d.Rollout.Disk, d.Rollout.Surge = f.Rollout.Disk, max(1, f.Rollout.Surge.Of(len(members)))
		if f.Rollout.Disk == plan.Fresh {
			d.Rollout.MaxUnavailable = f.Rollout.MaxUnavailable.Of(len(members))
		}
	}
	var err error
	if d.Rollout.Window, err = windowOf(f.Rollout.Window); err != nil {
		return plan.Desired{}, fmt.Errorf("fleet %s: %w", f.Name, err)
	}
	if pick == nil {
		pick = asWritten
	}
	for _, m := range members {
		w, err := wantOf(spec, f, m, pick)
		if err != nil {
			return plan.Desired{}, fmt.Errorf("fleet %s: %s: %w", f.Name, m.Name, err)
		}
		d.VMs = append(d.VMs, w)
	}
	return d, nil
}

func supported(f specs.Fleet) error {
	var all []error
	for _, p := range f.Unsupported() {
		all = append(all, fmt.Errorf("fleet %s: %s: %s", f.Name, p.Summary, p.Detail))
	}
	return errors.Join(all...)
}

// scaleIn is how many VMs may go at once: a share of a small fleet is at least one.
func scaleIn(most specs.Count, members int) int {
	if most.Percent > 0 {
		return max(1, most.Of(members))
	}
	return most.N
}

// windowOf finds the window's time zone.
func windowOf(w *specs.Window) (*plan.Window, error) {
	if w == nil {
		return nil, nil
	}
	zone, err := time.LoadLocation(w.TZ)
	if err != nil {
		return nil, fmt.Errorf("window: time zone %q: %w", w.TZ, err)
	}
	return &plan.Window{Days: slices.Clone(w.Days), From: w.From, To: w.To, Zone: zone}, nil
}

// DrainOf returns what drains the VMs of a fleet, or nil when nothing does; commands run in dir with env.
func DrainOf(f specs.Fleet, digest, dir string, env []string, clock Clock) Drainer {
	if f.Drain == nil || len(f.Drain.Command) == 0 {
		return nil
	}
	return DrainCommand{
		Command:  hook.Command{Argv: slices.Clone(f.Drain.Command), Dir: dir, Env: env},
		Deadline: f.Drain.Deadline, GoOn: f.Drain.OnDeadline == "continue", Image: strings.TrimPrefix(digest, "sha256:"), Clock: clock,
	}
}

// imageOf describes the image to the planner. A manifest about another ISO counts as none.
func imageOf(name, digest string, facts Facts) plan.Image {
	im := plan.Image{Name: name, Digest: digest, Paths: maps.Clone(facts.Paths)}
	m := facts.Manifest
	if m == nil || strings.TrimPrefix(m.ISO.SHA256, "sha256:") != digest {
		return im
	}
	im.Known, im.ID, im.RAM, im.Boot, im.Engine = true, m.ID, m.RAM.Minimum, slices.Clone(m.Boot), m.Engine
	if s := m.SecureBoot; s != nil {
		im.Trust = plan.Trust{Chain: s.Chain, Certificate: slices.Clone(s.Certificate)}
	}
	for _, p := range m.Persist {
		im.Mounts = append(im.Mounts, plan.Mount{Path: p.Mount, Label: p.Label, UUID: p.UUID, Filesystem: p.Filesystem, Force: p.Force, Gated: p.Gated})
	}
	return im
}

func wantOf(spec specs.Spec, f specs.Fleet, m specs.Member, pick Pick) (plan.WantVM, error) {
	p := f.PlacementOf(m.Ordinal)
	w := plan.WantVM{
		Name: m.Name, Ordinal: m.Ordinal,
		Place: plan.Placement{VCenter: p.VCenter, Datacenter: p.Datacenter, Cluster: p.Cluster, Host: p.Host,
			ResourcePool: p.ResourcePool, Folder: p.Folder},
		CPUs: f.VM.CPUs, MemoryMiB: int64(f.VM.Memory / specs.MiB), Firmware: f.VM.Firmware, SecureBoot: f.VM.SecureBoot, GuestID: f.VM.GuestID,
		Annotation: f.VM.Annotation, ExtraConfig: map[string]string{report.HostnameKey: m.Name},
	}
	if st, ok := spec.StoreFor(p); ok {
		w.Place.Store = st.Name
	}
	maps.Copy(w.ExtraConfig, f.VM.ExtraConfig)
	for k, v := range f.VM.Guestinfo {
		w.ExtraConfig["guestinfo."+k] = v
	}
	for _, n := range f.VM.Networks {
		w.Networks = append(w.Networks, plan.Network{Name: n.Name, Type: n.Type})
	}
	err := placed(&w, f, p, pick)
	return w, err
}

// placed gives the VM its data disks, and all of them their datastores. A VM's swap file has the size of its memory.
func placed(w *plan.WantVM, f specs.Fleet, p specs.Placement, pick Pick) error {
	home := Load{Name: w.Name, Bytes: w.MemoryMiB << 20}
	for _, x := range f.Disks {
		disk := plan.WantDisk{Name: x.Name, Bytes: int64(x.Size), Mount: x.Mount, Thin: x.Provisioning != "thick"}
		file := path.Base(plan.DiskPath(f.Name, *w, disk))
		if x.Datastore == "" {
			home.Files, home.Bytes = append(home.Files, file), home.Bytes+disk.Bytes
		} else {
			var err error
			if disk.Datastore, err = pick(p, x.Datastore, Load{w.Name + "/" + x.Name, []string{file}, disk.Bytes}); err != nil {
				return fmt.Errorf("choose datastore of disk %s: %w", x.Name, err)
			}
		}
		w.Disks = append(w.Disks, disk)
	}
	var err error
	if w.Place.Datastore, err = pick(p, p.Datastore, home); err != nil {
		return fmt.Errorf("choose datastore: %w", err)
	}
	return nil
}

func asWritten(_ specs.Placement, datastore string, _ Load) (string, error) {
	switch {
	case datastore == "":
		return "", errors.New("the placement names no datastore")
	case strings.ContainsAny(datastore, "*?["):
		return "", fmt.Errorf("%q is a pattern and nothing here resolves it", datastore)
	}
	return datastore, nil
}

// ChecksOf returns the outside ready checks of a fleet; commands run in dir with env. Each check gets timeout.
func ChecksOf(f specs.Fleet, dir string, env []string, timeout time.Duration) Checks {
	return Checks{TCP: f.Ready.TCP, HTTP: f.Ready.HTTP, Command: slices.Clone(f.Ready.Command), Env: env, Dir: dir, Timeout: timeout}
}
