package plan

import "fmt"

// next chooses the wave: the first kind of work there is.
func (f *fleet) next() Wave {
	stages := []func() []Roll{f.undone}
	if !f.still {
		stages = append(stages, f.returned, f.halves, f.noted)
		if f.brake == nil {
			stages = append(stages, f.started,
				func() []Roll { return f.created(true) }, func() []Roll { return f.created(false) }, f.revived,
				func() []Roll { return f.rolled(false) }, func() []Roll { return f.rolled(true) }, f.gone)
		}
	}
	for _, stage := range stages {
		if rolls := stage(); len(rolls) > 0 {
			return Wave{Rolls: rolls}
		}
	}
	return Wave{}
}

// take returns the rolls of the first most members that are of that kind, do not wait and pass.
func (f *fleet) take(k kind, most int, pass func(member) bool) []Roll {
	var out []Roll
	for _, m := range f.members {
		if len(out) < most && m.kind == k && pass(m) && f.waits(m) == nil {
			out = append(out, m.roll())
		}
	}
	return out
}

func every(member) bool { return true }

// undone puts previous images back.
func (f *fleet) undone() []Roll { return f.take(failed, parallel, every) }

// noted writes down who does not serve, and who serves again.
func (f *fleet) noted() []Roll { return f.take(unnoted, parallel, every) }

// returned gives claims back under which nothing was done: of VMs that serve and for which there is no room in the
// budget, because two runs that claimed at the same moment both see it taken, or no open window; and of VMs that are not
// wanted any more and must not go yet.
func (f *fleet) returned() []Roll {
	budget := f.limit - f.unavailable()
	var out []Roll
	for _, m := range f.members {
		if m.kind != halfway || !m.calm {
			continue
		}
		if budget--; m.green == nil && (budget < 0 || !f.open) {
			why := "too many others do not serve"
			if !f.open {
				why = "the window has closed"
			}
			out = append(out, givenBack(f.want, m, f.now, why))
		}
	}
	for _, m := range f.extras {
		if m.kind == surplus && !m.vm.Record.Started.IsZero() && !f.mayGo(m) {
			out = append(out, givenBack(f.want, m, f.now, "it must not go yet"))
		}
	}
	return out
}

// halves finishes what is halfway. A VM that serves needs room in the budget; only one whose replacement exists can be
// left without, because it cannot be given back, and waits.
func (f *fleet) halves() []Roll {
	budget, most := f.limit-f.unavailable(), max(parallel, f.limit)
	var out []Roll
	for _, m := range f.members {
		if m.kind != halfway || len(out) >= most {
			continue
		}
		if m.calm {
			if budget--; budget < 0 {
				continue
			}
		}
		out = append(out, m.roll())
	}
	for _, m := range f.extras {
		if m.kind == halfway && len(out) < most && len(f.going()) <= f.want.Rollout.ScaleIn {
			out = append(out, m.roll())
		}
	}
	return out
}

// started starts and rolls what is off.
func (f *fleet) started() []Roll {
	return f.take(down, parallel, func(m member) bool { return m.vm.Power == Off })
}

// revived heals and rolls what is on and does not serve. It might only be out of our sight; when too many are, we are
// the likelier cause, and nothing that runs is shut down.
func (f *fleet) revived() []Roll {
	if f.limit < f.unavailable() {
		return nil
	}
	return f.take(down, parallel, every)
}

// rolled takes VMs that serve, within the budget: those on the wanted image that are not as wanted in other ways, or,
// as canaries allow, those on another image. The two are never mixed, so that a canary keeps nothing else waiting.
func (f *fleet) rolled(image bool) []Roll {
	most := f.limit - f.unavailable()
	if image && f.canary.room > 0 {
		most = min(most, f.canary.room)
	}
	return f.take(outdated, most, func(m member) bool { return m.newImage == image })
}

// starved says why VMs must wait for others that do not serve, or returns nil. Those that wait for nothing but the end of
// what somebody is doing about the others are no refusal.
func (f *fleet) starved() *Blocked {
	waiting, why := 0, ""
	for _, m := range f.members {
		if f.crowded(m) && f.passing(m) == nil {
			waiting++
		}
		if !m.up && why == "" {
			why = fmt.Sprintf("%s: %s", m.want.Name, m.reason)
		}
	}
	if waiting == 0 {
		return nil
	}
	return &Blocked{Code: R12, Reason: fmt.Sprintf("%d VMs wait: %d of %d do not serve (%s), max_unavailable is %d",
		waiting, f.unavailable(), len(f.members), why, f.limit),
		Clear: "bring the VMs back that do not serve, or raise max_unavailable"}
}

// crowded tells whether a VM would be worked on now if there were room in the budget.
func (f *fleet) crowded(m member) bool {
	switch m.kind {
	case outdated, down, halfway, missing:
		return f.brake == nil && f.waits(m) == nil
	}
	return false
}

// passing says for what a VM waits for which there is no room, when there will be without anybody's help: another run is
// at one of those that do not serve, or one of them is about to be power cycled. Else it returns nil.
func (f *fleet) passing(m member) *Later {
	if !f.crowded(m) {
		return nil
	}
	var first *Later
	stay, mend := 0, 0 // not serving when all that is awaited has come, and of these the ones that are then brought back
	for _, x := range f.members {
		switch l := f.awaited(x); {
		case x.up:
		case l == nil:
			if stay++; f.crowded(x) {
				mend++
			}
		case first == nil:
			first = l
		}
	}
	if first == nil || stay > f.limit || m.up && stay-mend >= f.limit {
		return nil
	}
	return &Later{VM: m.want.Name, Reason: first.Reason, Until: first.Until}
}

// awaited says why a VM does not serve for now and is seen to, or returns nil.
func (f *fleet) awaited(m member) *Later {
	switch {
	case m.up:
	case m.kind == ailing:
		return &Later{VM: m.want.Name, Reason: m.want.Name + " does not serve, and is power cycled when it has not served for " + f.want.Rollout.Heal.String(), Until: m.until}
	case m.blocked != nil && m.blocked.Code == R16:
		for _, v := range []*VM{m.vm, m.green} {
			if v != nil && claimed(f.want, *v, f.now) != nil {
				return &Later{VM: m.want.Name, Reason: fmt.Sprintf("another run (%s) is at %s", v.Record.Owner, m.want.Name)}
			}
		}
	}
	return nil
}
