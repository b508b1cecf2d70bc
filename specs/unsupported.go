package specs

// Unsupported returns what a fleet asks for and this version of lkv does not do. Such a fleet must be refused
// before anything changes: ignoring a drain or a window would take down what somebody meant to protect.
func (f Fleet) Unsupported() []Problem {
	var list []Problem
	add := func(used bool, at Pos, what, instead string) {
		if used {
			list = append(list, Problem{Pos: at, Summary: "Not possible yet: " + what, Detail: instead})
		}
	}
	r := f.Rollout
	add(r.Strategy != InPlace, r.Pos, `strategy = "`+r.Strategy+`"`, `Write strategy = "in-place".`)
	add(f.Drain != nil && f.Drain.Swarm != nil, posDrain(f), "draining Swarm nodes", "Remove the swarm block and drain the nodes yourself, one VM at a time.")
	add(f.Drain != nil && f.Drain.Swarm == nil, posDrain(f), "draining by a command", "Remove the drain block and drain the VMs yourself, one at a time.")
	add(r.Window != nil, posWindow(r), "a window", "Remove the window block and run lkv reconcile at the right time instead.")
	add(f.MaxAge != 0, f.Pos, "max_age", "Remove max_age; build a new image to roll the VMs.")
	add(r.Strategy == InPlace && r.Surge != (Count{}), r.Pos, "surge", "Remove surge: an in-place roll adds no VMs.")
	add(r.Canaries != 0 || r.Bake != 0, r.Pos, "canaries and bake", "Remove canaries and bake; VMs are rolled in order, and the first that fails stops the fleet.")
	add(r.MaxFailed > 1, r.Pos, "max_failed above 1", "Remove max_failed: the first VM that fails stops the fleet.")
	add(r.ProgressDeadline != 0, r.Pos, "progress_deadline", "Remove progress_deadline; ready { timeout } bounds every VM.")
	add(r.OnFailure != Pause, r.Pos, `on_failure = "`+r.OnFailure+`"`, `Write on_failure = "pause".`)
	add(f.Ready.Swarm, f.Ready.Pos, "ready { swarm }", "Remove swarm from ready.")
	for _, p := range f.Placements {
		if p.VCenter != f.Placements[0].VCenter {
			add(true, p.Pos, "one fleet in two vCenters", "Write one fleet per vCenter.")
			break
		}
	}
	return list
}

func posDrain(f Fleet) Pos {
	if f.Drain == nil {
		return Pos{}
	}
	return f.Drain.Pos
}

func posWindow(r Rollout) Pos {
	if r.Window == nil {
		return Pos{}
	}
	return r.Window.Pos
}
