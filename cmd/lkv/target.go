package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

// target is one fleet, ready to be looked at.
type target struct {
	desired plan.Desired
	fleet   managed
	checks  reconcile.Checks
	drain   reconcile.Drainer // nil: VMs are not drained
	sent    func() int        // calls so far that change something, in all sessions of the command
	still   []plan.Blocked    // R13, while the spec says suspend = true
	blocked []plan.Blocked    // why there is nothing to compare with; then the rest is empty
}

// managed is a fleet in the vCenter, or the several vCenters, that its VMs are placed in.
type managed interface {
	reconcile.Observer
	reconcile.Executor
	reconcile.Watcher
	Journal(w *journal.Writer, about journal.Fleet) error
}

// managed connects the vCenters that a fleet's VMs are placed in, and the others of the spec: VMs and disks may have been
// left there when the placements named them.
func (x *sessions) managed(ctx context.Context, f specs.Fleet, cfg vsphere.FleetConfig) (managed, error) {
	all, besides := map[string]*vsphere.Fleet{}, map[string]vsphere.Beside{}
	several := len(x.spec.VCenters) > 1
	for _, p := range f.Placements {
		if all[p.VCenter] != nil {
			continue
		}
		client, err := x.client(ctx, p.VCenter)
		if err != nil {
			return nil, err
		}
		if several {
			cfg.VCenter = p.VCenter
		}
		all[p.VCenter] = client.Fleet(cfg)
	}
	if !several {
		return all[f.Placements[0].VCenter], nil
	}
	for _, v := range x.spec.VCenters {
		if cfg.VCenter = v.Name; all[v.Name] == nil {
			besides[v.Name] = x.beside(ctx, cfg)
		}
	}
	return vsphere.NewMany(all, besides)
}

// beside connects a vCenter that no placement of a fleet names. One that cannot be reached is said, once, and stops
// nothing but the making of disks.
func (x *sessions) beside(ctx context.Context, cfg vsphere.FleetConfig) vsphere.Beside {
	if err := x.out[cfg.VCenter]; err != nil {
		return vsphere.Beside{Err: err}
	}
	client, err := x.client(ctx, cfg.VCenter)
	if err != nil {
		x.out[cfg.VCenter] = err
		x.s.note("lkv: warning: what fleets left in vCenter %s is not seen: %v\n", cfg.VCenter, err)
		return vsphere.Beside{Err: err}
	}
	return vsphere.Beside{Fleet: client.Fleet(cfg)}
}

// fleets returns the fleets that --fleet names. What this version cannot do is refused before anything is connected.
func fleets(c *cli.Context, spec specs.Spec) ([]specs.Fleet, error) {
	chosen, err := pick(c, "fleet", "fleet", spec.Fleets, func(f specs.Fleet) string { return f.Name })
	if err != nil {
		return nil, err
	}
	var problems []specs.Problem
	for _, f := range chosen {
		problems = append(problems, f.Unsupported()...)
	}
	if len(problems) > 0 {
		return nil, &specs.Error{Problems: problems}
	}
	return chosen, nil
}

// target finds what the stores say about the fleet's image and where its VMs belong. That a vCenter gives no session
// refuses this fleet, and no other one.
func (x *sessions) target(ctx context.Context, f specs.Fleet) (target, error) {
	facts, err := x.facts(ctx, f)
	if err != nil {
		return refusedTarget(f, inFleet(f.Name, err))
	}
	t, err := x.aim(ctx, f, facts)
	if err != nil {
		return refusedTarget(f, err)
	}
	return t, nil
}

// refusedTarget makes a refusal a fleet that is refused; every other error stays one.
func refusedTarget(f specs.Fleet, err error) (target, error) {
	var blocked plan.Blocked
	if errors.As(refusalOf(err), &blocked) {
		return target{desired: plan.Desired{Fleet: f.Name}, blocked: []plan.Blocked{blocked}}, nil
	}
	return target{}, err
}

// aim makes a target of what is known of the fleet's image.
func (x *sessions) aim(ctx context.Context, f specs.Fleet, facts reconcile.Facts) (target, error) {
	pick := func(p specs.Placement, datastore string, what reconcile.Load) (string, error) {
		return x.datastore(ctx, f.Name, p, datastore, what)
	}
	want, err := reconcile.DesiredOf(x.spec, f, facts, x.who, pick)
	if err != nil {
		return target{}, err
	}
	want.Image.Bring, want.Image.Rebuild = x.pushing(f), rebuilding(f)
	fleet, err := x.managed(ctx, f, vsphere.FleetConfig{Now: x.s.Now})
	if err != nil {
		return target{}, err
	}
	var env []string
	for k, v := range x.s.Env {
		env = append(env, k+"="+v)
	}
	// No OwnerID: whose a VM is must stay the same when the next run is another machine or another CI runner, and of all
	// that such runs share only the fleet's name says it. So that name must be unique in a vCenter (docs/safety.md).
	return target{
		desired: want, fleet: fleet, sent: func() int { return int(x.sent.Load()) },
		checks: reconcile.ChecksOf(f, x.spec.Dir, env, 5*time.Second),
		drain:  reconcile.DrainOf(f, facts.Digest, x.spec.Dir, env, clock{x.s.Now}),
	}, nil
}

// facts reads the channel, the manifest and the ISO of a fleet's image on every store that its placements use.
func (x *sessions) facts(ctx context.Context, f specs.Fleet) (reconcile.Facts, error) {
	facts := reconcile.Facts{Digest: strings.TrimPrefix(f.Digest, "sha256:"), Paths: map[string]string{}}
	stores, err := x.storesOf(ctx, f)
	if err != nil {
		return facts, err
	}
	if done, err := x.fetch.fetch(ctx, f, stores, &facts); err != nil || done {
		return facts, err
	}
	named := ""
	for _, store := range stores {
		store = x.s.patiently(store)
		if f.Digest == "" {
			digest, err := channelOf(ctx, store, f)
			var blocked plan.Blocked
			if errors.As(err, &blocked) {
				blocked.Clear = x.pushing(f)
				return facts, blocked
			}
			if err != nil {
				return facts, err
			}
			if named != "" && digest != facts.Digest {
				return facts, plan.Blocked{Code: plan.R01, Reason: fmt.Sprintf("channel %s of image %s is not the same on stores %s and %s", f.Channel, f.Image, named, store.Name()), Clear: x.pushing(f)}
			}
			named, facts.Digest = store.Name(), digest
		}
		if err := presentOn(ctx, store, f.Image, &facts); err != nil {
			return facts, err
		}
	}
	return facts, nil
}

// storesOf connects the stores that the VMs of a fleet boot from, each once.
func (x *sessions) storesOf(ctx context.Context, f specs.Fleet) ([]push.Store, error) {
	var list []push.Store
	seen := map[string]push.Store{}
	for _, p := range f.Placements {
		st, ok := x.spec.StoreFor(p)
		if !ok {
			continue
		}
		if seen[st.Name] == nil {
			store, err := x.store(ctx, st)
			if err != nil {
				return nil, err
			}
			seen[st.Name], list = store, append(list, store)
		}
		if lib, ok := seen[st.Name].(*vsphere.Library); ok { // one library may serve several datacenters
			if err := lib.Reaches(ctx, p.Datacenter); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// pushing is the command that brings a fleet's image to its stores: from the registry, when the spec has one. What a
// fleet pins is brought without any channel, which would be another fleet's.
func (x *sessions) pushing(f specs.Fleet) string {
	from := ""
	if len(x.spec.RegistryStores()) > 0 {
		from = "--from-registry "
		if f.Digest != "" {
			return "lkv push --from-registry --image " + f.Image + " --digest " + f.Digest + " --channel="
		}
	}
	if f.Digest != "" {
		return "where lkv build made " + ui.Short(strings.TrimPrefix(f.Digest, "sha256:")) + " (dist has the newest one): lkv push --image " + f.Image + " --channel="
	}
	return "lkv push " + from + "--image " + f.Image + channelFlag(f)
}

// rebuilding is the command that makes another ISO the one that a fleet wants.
func rebuilding(f specs.Fleet) string {
	text := "lkv build --image " + f.Image + " && lkv push --image " + f.Image
	if f.Digest != "" {
		return text + " --channel=, and write its digest into fleet " + f.Name
	}
	return text + channelFlag(f)
}

// channelFlag names the channel that a fleet follows.
func channelFlag(f specs.Fleet) string { return " --channel " + f.Channel }

// channelOf returns the digest a channel names on a store.
func channelOf(ctx context.Context, store push.Store, f specs.Fleet) (string, error) {
	ch, err := push.ReadChannel(ctx, store, f.Image, f.Channel)
	if errors.Is(err, fs.ErrNotExist) {
		return "", plan.Blocked{Code: plan.R01, Reason: fmt.Sprintf("image %s was never pushed to channel %s on store %s", f.Image, f.Channel, store.Name()), Clear: "lkv push --image " + f.Image + channelFlag(f)}
	}
	if err != nil {
		return "", fmt.Errorf("read channel %s of image %s on store %s: %w", f.Channel, f.Image, store.Name(), err)
	}
	return ch.Digest, nil
}

// presentOn notes where the ISO lies on a store, when it is complete there. What is missing is for the planner to
// refuse, VM by VM.
func presentOn(ctx context.Context, store push.Store, image string, facts *reconcile.Facts) error {
	m, err := push.ReadManifest(ctx, store, image, facts.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read manifest of image %s on store %s: %w", image, store.Name(), err)
	}
	there, err := push.Present(ctx, store, image, m)
	if err != nil {
		return fmt.Errorf("look for the ISO of image %s on store %s: %w", image, store.Name(), err)
	}
	if there {
		facts.Paths[store.Name()] = store.Path(push.ISOPath(image, facts.Digest))
	}
	facts.Manifest = &manifest.Manifest{}
	*facts.Manifest = m
	return nil
}

// datastore resolves what a placement says to one datastore's name. Of a cluster of datastores or a pattern it gives the
// one where a disk of the VM lies already, else the one with most room.
func (x *sessions) datastore(ctx context.Context, fleet string, p specs.Placement, name string, what reconcile.Load) (string, error) {
	key := strings.Join([]string{p.VCenter, p.Datacenter, p.Cluster, p.Host, p.ResourcePool, fleet, name}, "\x00")
	if x.choices[key] == nil {
		client, err := x.client(ctx, p.VCenter)
		if err != nil {
			return "", err
		}
		at := plan.Placement{Datacenter: p.Datacenter, Cluster: p.Cluster, Host: p.Host, ResourcePool: p.ResourcePool}
		if x.choices[key], err = client.Choice(ctx, at, name, path.Join(plan.DiskFolder, fleet)); err != nil {
			return "", err
		}
	}
	return x.choices[key].Next(what.Name, what.Bytes, what.Files...), nil
}

// look observes a fleet once, with the outside checks of the VMs that are on. It changes nothing.
func (t target) look(ctx context.Context) (plan.Observed, error) {
	have, err := t.fleet.Observe(ctx, t.desired)
	if err != nil || !t.checks.Any() {
		return have, err
	}
	var wg sync.WaitGroup
	for i := range have.VMs {
		v := &have.VMs[i]
		for _, w := range t.desired.VMs {
			if w.Name == v.Name && v.Power == plan.On && v.Fleet == t.desired.Fleet {
				wg.Go(func() { v.Guest.Probes = t.checks.Probe(ctx, w, *v) })
			}
		}
	}
	wg.Wait()
	return have, nil
}
