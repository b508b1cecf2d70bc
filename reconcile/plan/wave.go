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

// starved says why VMs must wait for others that do not serve, or returns nil.
func (f *fleet) starved() *Blocked {
	if f.brake != nil {
		return nil
	}
	waiting, why := 0, ""
	for _, m := range f.members {
		if (m.kind == outdated || m.kind == down || m.kind == halfway || m.kind == missing) && f.waits(m) == nil {
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
