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
	add(f.Drain != nil && f.Drain.Swarm != nil, posDrain(f), "draining Swarm nodes", "Remove the swarm block and drain the nodes yourself, one VM at a time.")
	add(r.Strategy == InPlace && r.Surge != (Count{}), r.Pos, "surge", "Remove surge: an in-place roll adds no VMs.")
	add(f.Ready.Swarm, f.Ready.Pos, "ready { swarm }", "Remove swarm from ready.")
	return list
}

func posDrain(f Fleet) Pos {
	if f.Drain == nil {
		return Pos{}
	}
	return f.Drain.Pos
}
