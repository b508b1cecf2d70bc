package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/lkv-io/lkv/reconcile/journal"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Many is one fleet whose VMs are placed in several vCenters, as an observer and executor. It looks at all of them or
// at none: one that cannot be read may have any VM and any disk.
//
// VMs are told apart by name, so a name that two vCenters have is refused (R22). "[datastore] path" says nothing about
// the vCenter, so a disk file counts only in the vCenter that its VM is in or placed in: in any other one it only says
// that the disk was made once (R06, never a second one), and in both it is there twice (R06). Whether another VM has
// such a file, by its path or its UUID, is asked across all of them.
//
// Not supported: moving a VM from one vCenter to another, and a vCenter that no placement names any more: what the
// fleet has there is not seen.
type Many struct {
	fleets map[string]*Fleet // by the name that placements give their vCenter

	mu sync.Mutex
	at map[string][]string // vCenters in which a VM was seen last, by fleet and name, and by instance UUID
}

// NewMany returns one fleet's observer and executor, from those of its vCenters by the name that placements have for
// them. Each must have that name in its FleetConfig.
func NewMany(fleets map[string]*Fleet) (*Many, error) {
	if len(fleets) == 0 {
		return nil, errors.New("a fleet of several vCenters: it has none")
	}
	for name, f := range fleets {
		if name == "" || f.cfg.VCenter != name {
			return nil, fmt.Errorf("a fleet of several vCenters: %q calls itself %q", name, f.cfg.VCenter)
		}
	}
	return &Many{fleets: maps.Clone(fleets), at: map[string][]string{}}, nil
}

func (m *Many) names() []string { return slices.Sorted(maps.Keys(m.fleets)) }

// Observe takes one complete look at every vCenter, at the same time, and puts them together. When one of them cannot
// be read, Problem says so and nothing else is to be believed.
func (m *Many) Observe(ctx context.Context, desired plan.Desired) (plan.Observed, error) {
	names := m.names()
	looks, problem, err := m.looks(ctx, names, desired, false)
	if problem == "" && err == nil && incomplete(desired, looks) {
		looks, problem, err = m.looks(ctx, names, desired, true)
	}
	if problem != "" || err != nil {
		return plan.Observed{Problem: problem}, err
	}
	m.remember(desired.Fleet, names, looks)
	return joined(desired, names, looks), nil
}

// incomplete tells whether a wanted VM is missing, so that files matter in every vCenter: one whose own VMs are all
// there lists none by itself.
func incomplete(desired plan.Desired, looks []plan.Observed) bool {
	return slices.ContainsFunc(desired.VMs, func(w plan.WantVM) bool {
		return !slices.ContainsFunc(looks, func(o plan.Observed) bool {
			return slices.ContainsFunc(o.VMs, func(v plan.VM) bool { return v.Name == w.Name && v.Fleet == desired.Fleet })
		})
	})
}

// looks looks at every vCenter. Problem says why they are not to be believed.
func (m *Many) looks(ctx context.Context, names []string, desired plan.Desired, allFiles bool) (looks []plan.Observed, problem string, err error) {
	looks = make([]plan.Observed, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		f := m.fleets[name]
		wg.Go(func() { looks[i], errs[i] = f.observe(ctx, desired, allFiles || f.cfg.AllFiles) })
	}
	wg.Wait()
	for i, name := range names {
		if errs[i] != nil {
			return nil, fmt.Sprintf("vCenter %s: %v", name, errs[i]), errs[i]
		}
		if looks[i].Problem != "" {
			return nil, fmt.Sprintf("vCenter %s: %s", name, looks[i].Problem), nil
		}
	}
	return looks, "", nil
}

// remember keeps where VMs were seen.
func (m *Many) remember(fleet string, names []string, looks []plan.Observed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.at)
	for i, o := range looks {
		for _, v := range o.VMs {
			for _, key := range []string{fleet + "/" + v.Name, v.ID} {
				if !slices.Contains(m.at[key], names[i]) {
					m.at[key] = append(m.at[key], names[i])
				}
			}
		}
	}
	delete(m.at, "")
}

// joined puts looks at several vCenters together.
func joined(desired plan.Desired, names []string, looks []plan.Observed) plan.Observed {
	var out plan.Observed
	for i, o := range looks {
		for _, v := range o.VMs {
			v.Ref = names[i] + "/" + v.Ref // two vCenters give the same ones
			out.VMs = append(out.VMs, v)
		}
		out.Hidden = append(out.Hidden, o.Hidden...)
		out.Made = append(out.Made, o.Made...)
		for _, file := range o.Files {
			_, rest, _ := strings.Cut(file.Path, "] ")
			if counts(desired, names, looks, i, rest) {
				out.Files = append(out.Files, file)
			} else {
				out.Made = append(out.Made, rest)
			}
		}
	}
	slices.SortStableFunc(out.VMs, func(a, b plan.VM) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Files, func(a, b plan.DiskFile) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.UUID, b.UUID))
	})
	out.Made = merged(out.Made, nil)
	return out
}

// counts tells whether a file of vCenter i may be used: its VM is there or placed there, or it has none that is placed
// elsewhere. One that the VM's own vCenter has as well counts, so that it is seen to be there twice.
func counts(desired plan.Desired, names []string, looks []plan.Observed, i int, rest string) bool {
	for _, w := range desired.VMs {
		if w.Place.VCenter == names[i] || !diskOfVM(desired.Fleet, w, rest) {
			continue
		}
		there := slices.ContainsFunc(looks[i].VMs, func(v plan.VM) bool { return v.Fleet == desired.Fleet && v.Ordinal == w.Ordinal })
		own := slices.Index(names, w.Place.VCenter)
		twice := own >= 0 && slices.ContainsFunc(looks[own].Files, func(f plan.DiskFile) bool { return strings.HasSuffix(f.Path, "] "+rest) })
		return there || twice
	}
	return true
}

// diskOfVM tells whether a path is that of a data disk of the VM, of whatever generation.
func diskOfVM(fleet string, w plan.WantVM, rest string) bool {
	return slices.ContainsFunc(w.Disks, func(d plan.WantDisk) bool {
		_, first, _ := strings.Cut(plan.DiskPath(fleet, w, d), "] ")
		base := strings.TrimSuffix(first, path.Ext(first))
		return rest == first || strings.HasPrefix(rest, base+"-g")
	})
}

// Execute carries out one step where the VM was seen, or where it is placed when it is to be made.
func (m *Many) Execute(ctx context.Context, step plan.Step, desired plan.Desired) error {
	name, err := m.route(step, desired)
	if err != nil {
		return err
	}
	f := m.fleets[name]
	if f == nil {
		return fmt.Errorf("VM %s is placed in vCenter %q, which the fleet does not have", step.VM(), name)
	}
	if err := m.nowhereElse(ctx, name, step, desired); err != nil {
		return err
	}
	if err := f.Execute(ctx, step, desired); err != nil {
		return err
	}
	m.follow(name, step, desired)
	return nil
}

// route says which vCenter a step is for.
func (m *Many) route(step plan.Step, desired plan.Desired) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s := step.(type) {
	case plan.CreateDisk:
		return s.Place.VCenter, nil
	case plan.CreateVM:
		if at := m.at[s.Record.Replaces]; s.Record.Replaces != "" && !slices.Equal(at, []string{s.Want.Place.VCenter}) {
			return "", plan.Blocked{VM: s.VM(), Code: plan.R06, Reason: fmt.Sprintf("the VM that it is to replace is in vCenter %s, and its place is in %s now", strings.Join(at, ", "), s.Want.Place.VCenter),
				Clear: "give the fleet's placements the order back that they had: a VM and its disks do not move from one vCenter to another"}
		}
		return s.Want.Place.VCenter, nil
	}
	switch at := m.at[desired.Fleet+"/"+step.VM()]; len(at) {
	case 0:
		return "", fmt.Errorf("%w: VM %s was seen in no vCenter", ErrChanged, step.VM())
	case 1:
		return at[0], nil
	default:
		return "", plan.Blocked{VM: step.VM(), Code: plan.R22, Reason: "vCenters " + strings.Join(at, " and ") + " have a VM of this name",
			Clear: "rename the one that does not belong to the fleet"}
	}
}

// nowhereElse proves, before a disk or a VM is made, that no other vCenter has it (D7): what was seen last may be old.
func (m *Many) nowhereElse(ctx context.Context, here string, step plan.Step, desired plan.Desired) error {
	for _, name := range m.names() {
		if name == here {
			continue
		}
		var err error
		switch s := step.(type) {
		case plan.CreateDisk:
			err = m.fleets[name].neverExisted(ctx, s, desired)
		case plan.CreateVM:
			err = m.fleets[name].nobodyNamed(ctx, s, desired)
		}
		var b plan.Blocked
		if errors.As(err, &b) {
			b.Reason = "vCenter " + name + ": " + b.Reason
			return b
		}
		if err != nil {
			return fmt.Errorf("vCenter %s: %w", name, err)
		}
	}
	return nil
}

// nobodyNamed refuses to make a VM of whose name or place this vCenter has one already. The VM that it replaces has its
// place rightfully.
func (f *Fleet) nobodyNamed(ctx context.Context, s plan.CreateVM, desired plan.Desired) error {
	list, err := f.rivals(ctx, s, desired)
	if err != nil || len(list) == 0 {
		return err
	}
	return f.nameTaken(s, "VM "+list[0].vm.Ref)
}

// follow notes where a VM is that the step made or renamed.
func (m *Many) follow(vcenter string, step plan.Step, desired plan.Desired) {
	var to string
	switch s := step.(type) {
	case plan.CreateVM:
		to = s.VM()
	case plan.Rename:
		to = s.To
	case plan.Retire:
		to = s.To
	case plan.Adopt:
		to = s.To
	default:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if to != step.VM() {
		delete(m.at, desired.Fleet+"/"+step.VM())
	}
	m.at[desired.Fleet+"/"+to] = []string{vcenter}
}

// Journal begins the fleet in a journal, once for every vCenter, as Fleet.Journal does.
func (m *Many) Journal(w *journal.Writer, about journal.Fleet) error {
	var all []*recorder
	for _, name := range m.names() {
		f := m.fleets[name]
		if err := f.Journal(w, about); err != nil {
			return fmt.Errorf("vCenter %s: %w", name, err)
		}
		all = append(all, f.c.gate.log.Load())
	}
	for i, r := range all {
		r.besides(slices.Concat(all[:i], all[i+1:]))
	}
	return nil
}
