package plan

import "fmt"

// next chooses the wave: the first kind of work there is.
func (f *fleet) next() Wave {
	stages := []func() []Roll{f.undone}
	if !f.still {
		stages = append(stages, f.halves, f.noted)
		if f.brake == nil {
			stages = append(stages, f.revived, f.created,
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

// halves finishes what is halfway. A VM that is claimed but still serves needs room in the budget and an open window;
// without them the claim is given back, because two runs that claimed at the same moment both see it taken. A VM whose
// replacement exists cannot go back: it waits for room.
func (f *fleet) halves() []Roll {
	budget, most := f.limit-f.unavailable(), max(parallel, f.limit)
	var out []Roll
	for _, m := range f.members {
		if m.kind != halfway || len(out) >= most {
			continue
		}
		switch {
		case !m.calm:
			out = append(out, m.roll())
		case budget > 0 && (f.open || m.green != nil):
			budget--
			out = append(out, m.roll())
		case m.green == nil:
			out = append(out, givenBack(f.want, m, f.now, f.open))
		}
	}
	if len(f.going()) > f.want.Rollout.ScaleIn {
		return out
	}
	for _, m := range f.extras {
		if m.kind == halfway && len(out) < most {
			out = append(out, m.roll())
		}
	}
	return out
}

// revived starts, heals and rolls what does not serve. A VM that is on but does not serve might only be out of our
// sight; when too many are, we are the likelier cause, and nothing that runs is shut down.
func (f *fleet) revived() []Roll {
	budget := f.limit - f.unavailable()
	return f.take(down, parallel, func(m member) bool { return m.vm.Power == Off || budget >= 0 })
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
		if (m.kind == outdated || m.kind == down || m.kind == halfway) && f.waits(m) == nil {
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
