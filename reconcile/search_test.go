package reconcile

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// The search visits every state that a fleet of two VMs can get to: plan.Compute decides, plan.Observed.After is what a
// step does, the executor's rules say what is refused, and in between a process dies or acts after another one took
// over, claims expire, guests boot, gates fail, guests hang and people power VMs off. It is finite because of time only
// "past, now, future" is kept and of epochs only how they compare.

var searchTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// state is one state of everything.
type state struct {
	o      plan.Observed // guests included
	agents []agent
	taken  map[int]bool // members that lkv took down and that have not served since
	faults int          // how often something may still happen that nobody but a person or bad luck does
	lifts  int          // how often a person may still resume
}

// agent is one process that runs again and again.
type agent struct {
	who   string
	rolls []plan.Roll  // what is left of its wave; none: it looks next
	then  map[int]bool // who served when it looked
	gated map[string]bool
}

// move is one thing that can happen.
type move struct {
	name string
	to   *state // nil: nothing
	fair bool   // it happens by itself some day
	bad  []string
}

func (s *state) clone() *state {
	n := &state{o: s.o.Clone(), taken: maps.Clone(s.taken), faults: s.faults, lifts: s.lifts}
	for _, a := range s.agents {
		n.agents = append(n.agents, agent{who: a.who, rolls: slices.Clone(a.rolls), then: a.then, gated: maps.Clone(a.gated)})
	}
	return n
}

// search is one fleet whose states are visited.
type search struct {
	d      plan.Desired
	sick   string // image whose guests never come up
	ledger ledger
	rules  rules
	mutate func(plan.Plan, plan.Observed) plan.Plan // a planner that is broken on purpose; nil: none
	look   func(plan.Observed) plan.Observed        // one that does not see everything; nil: none
	noGate bool                                     // an engine that does not gate what another run booted
	first  *state
}

func (x *search) desired(who string) plan.Desired {
	d := x.d
	d.Claimer = who
	return d
}

// moves lists everything that can happen in a state.
func (x *search) moves(s *state) []move {
	var out []move
	for i := range s.agents {
		out = append(out, x.acts(s, i)...)
	}
	return append(out, x.happens(s)...)
}

// acts is what one agent can do: look and plan, or one step of one of its rolls, or die.
func (x *search) acts(s *state, i int) []move {
	a := s.agents[i]
	if len(a.rolls) == 0 {
		return x.plans(s, i)
	}
	var out []move
	for j, r := range a.rolls {
		out = append(out, x.steps(s, i, j, r)...)
	}
	n := s.clone()
	n.agents[i] = agent{who: a.who}
	return append(out, move{name: a.who + " dies", to: n, fair: true})
}

func (x *search) plans(s *state, i int) []move {
	a, have := s.agents[i], s.o
	if x.look != nil {
		have = x.look(have)
	}
	p := plan.Compute(x.desired(a.who), have, searchTime)
	var bad []string
	if x.mutate != nil {
		p = x.mutate(p, have)
	} else if err := plan.Check(p, have); err != nil {
		bad = append(bad, "Check: "+err.Error())
	}
	if len(p.Waves) == 0 {
		return []move{{name: a.who + " looks", bad: bad}}
	}
	n := s.clone()
	rolls := leading(p.Waves[0])
	if len(rolls) == 0 {
		rolls = p.Waves[0].Rolls
	}
	n.agents[i] = agent{who: a.who, rolls: rolls, then: serving(s.o, x.d), gated: map[string]bool{}}
	return []move{{name: a.who + " plans", to: n, fair: true, bad: bad}}
}

// steps is what can become of the next step of a roll.
func (x *search) steps(s *state, i, j int, r plan.Roll) []move {
	who, step := s.agents[i].who, r.Steps[0]
	name := fmt.Sprintf("%s: %s: %s", who, step.VM(), step)
	gate, waits := step.(plan.AwaitReady)
	if !waits && !x.noGate {
		gate, waits = x.asks(s, i, r)
	}
	if green := at(s.o, plan.GreenName(r.VM)); !waits && !x.noGate && green != nil && s.agents[i].gated[r.VM] && step.VM() == r.VM && !x.holds(*green, r) {
		switch step.(type) {
		case plan.Shutdown, plan.Retire: // the engine looks once more
			n := s.clone()
			n.drop(i, j)
			return []move{{name: name + ": its successor does not serve any more", to: n, fair: true}}
		}
	}
	if !waits {
		return []move{x.does(s, i, j, step, name)}
	}
	v := at(s.o, gate.VM())
	if v != nil && v.Record.Owner == who && x.holds(*v, r) {
		n := s.clone()
		n.agents[i].gated[r.VM] = true
		if _, own := step.(plan.AwaitReady); own {
			n.advance(i, j)
		}
		return []move{{name: name + " holds", to: n, fair: true}}
	}
	if v == nil || v.Record.Owner != who || s.faults == 0 && v.Record.Image != x.sick {
		return nil
	}
	n := s.clone()
	if v.Record.Image != x.sick {
		n.faults--
	}
	fail := plan.Fail{Why: "not ready"}
	fail.Name = v.Name
	m := x.does(n, i, j, fail, name+" fails")
	m.fair = v.Record.Image == x.sick
	if m.to != nil {
		m.to.drop(i, j)
	}
	return []move{m}
}

// asks is the gate that the engine adds before a release, or before a VM goes whose place another one has.
func (x *search) asks(s *state, i int, r plan.Roll) (gate plan.AwaitReady, waits bool) {
	if s.agents[i].gated[r.VM] {
		return gate, false
	}
	green := plan.GreenName(r.VM)
	booted := slices.ContainsFunc(r.Steps, func(x plan.Step) bool { _, ok := x.(plan.AwaitReady); return ok })
	switch st := r.Steps[0].(type) {
	case plan.Release:
		gate.Name = st.VM()
		return gate, r.Action != plan.GiveBack
	case plan.Shutdown, plan.Retire:
		gate.Name = green
		return gate, st.VM() == r.VM && !booted && at(s.o, green) != nil && slices.Contains(namesOf(r), green)
	}
	return gate, false
}

func (x *search) holds(v plan.VM, r plan.Roll) bool {
	w := x.d.VMs[slices.IndexFunc(x.d.VMs, func(w plan.WantVM) bool { return w.Ordinal == v.Ordinal })]
	if r.Action == plan.Rollback {
		return plan.Up(x.d, w, v) == ""
	}
	return plan.Ready(x.d, w, v) == ""
}

// does lets an agent carry out a step, as the executor's rules allow.
func (x *search) does(s *state, i, j int, step plan.Step, name string) move {
	n, who := s.clone(), s.agents[i].who
	if c, ok := step.(plan.Claim); ok {
		c.Expires = searchTime.Add(time.Hour)
		step = c
	}
	if c, ok := step.(plan.CreateVM); ok {
		c.Record.Expires = searchTime.Add(time.Hour)
		step = c
	}
	done, err := x.rules.permit(s.o, step, x.desired(who), searchTime)
	if err != nil {
		n.drop(i, j)
		return move{name: name + ": " + err.Error(), to: n, fair: true}
	}
	var bad []string
	if !done {
		n.o = effect(n.o, step)
		bad = x.judge(s, n, i, step)
		if r, ok := step.(plan.Retire); ok { // time stands still here, and names have it in them
			at(n.o, r.To).Name += fmt.Sprintf("-%d", len(n.o.VMs))
		}
	}
	n.advance(i, j)
	if _, drained := step.(plan.Drain); drained {
		n.drop(i, j)
	}
	return move{name: name, to: n, fair: true, bad: bad}
}

// advance takes the first step off a roll.
func (s *state) advance(i, j int) {
	r := s.agents[i].rolls[j]
	if r.Steps = r.Steps[1:]; len(r.Steps) == 0 {
		s.drop(i, j)
		return
	}
	s.agents[i].rolls[j] = r
}

func (s *state) drop(i, j int) {
	if j < len(s.agents[i].rolls) {
		s.agents[i].rolls = slices.Delete(s.agents[i].rolls, j, j+1)
	}
}

// judge says what a step of an agent broke.
func (x *search) judge(before, after *state, i int, step plan.Step) []string {
	l := x.ledger
	l.files, l.disks = maps.Clone(l.files), maps.Clone(l.disks)
	l.learn(before.o)
	bad := slices.Concat(l.faults(after.o), l.crowd(after.o, x.d))
	v := at(before.o, step.VM())
	who, then := before.agents[i].who, before.agents[i].then
	switch step.(type) {
	case plan.Claim, plan.CreateVM, plan.CreateDisk, plan.Mark:
	default:
		if v.Record.Owner != who {
			bad = append(bad, "A6: "+who+" writes")
		}
	}
	up := serving(after.o, x.d)
	for n := range up {
		delete(after.taken, n)
	}
	switch s := step.(type) {
	case plan.Shutdown:
		if then[v.Ordinal] && serves(*v, x.d) && !up[v.Ordinal] {
			after.taken[v.Ordinal] = true
			gone := 0
			for _, w := range x.d.VMs {
				if !up[w.Ordinal] && (w.Ordinal == v.Ordinal || after.taken[w.Ordinal] || !then[w.Ordinal]) {
					gone++
				}
			}
			if gone > x.d.Rollout.MaxUnavailable {
				bad = append(bad, fmt.Sprintf("A1: %d members do not serve", gone))
			}
		}
		if serves(*v, x.d) && x.d.Rollout.Drain && !v.Record.Drained {
			bad = append(bad, "A8: it goes down undrained")
		}
	case plan.Release:
		if !s.At.IsZero() && v.Power != plan.Off && !before.agents[i].gated[v.Name] {
			bad = append(bad, "A4: released without a gate")
		}
		if v.Record.Drained {
			bad = append(bad, "A8: left drained")
		}
	case plan.Retire:
		if g := heirOf(before.o, *v); g != nil && !before.agents[i].gated[v.Name] {
			bad = append(bad, "A4: retired without a gate")
		}
	}
	return bad
}

// happens is what nobody does.
func (x *search) happens(s *state) []move {
	var out []move
	add := func(name string, fair bool, change func(n *state, v *plan.VM)) {
		out = append(out, move{name: name, fair: fair, to: s.clone()})
		n := out[len(out)-1].to
		if !fair {
			n.faults--
		}
		for i := range n.o.VMs {
			if strings.HasPrefix(name, n.o.VMs[i].Name+" ") {
				change(n, &n.o.VMs[i])
			}
		}
	}
	for _, v := range s.o.VMs {
		if v.Record.Owner != "" && searchTime.Before(v.Record.Expires) {
			add(v.Name+" has a claim that expires", true, func(_ *state, v *plan.VM) { v.Record.Expires = searchTime.Add(-time.Hour) })
		}
		if v.Power == plan.On && v.Guest.State == "" && v.Record.Image != x.sick {
			add(v.Name+" boots", true, func(_ *state, v *plan.VM) { x.boot(v) })
		}
		if r := v.Record; r.Ill.Equal(searchTime) || r.Rolled.Equal(searchTime) {
			add(v.Name+" grows older", true, func(_ *state, v *plan.VM) {
				for _, t := range []*time.Time{&v.Record.Ill, &v.Record.Rolled} {
					if t.Equal(searchTime) {
						*t = searchTime.Add(-24 * time.Hour)
					}
				}
			})
		}
		if s.faults > 0 && v.Power == plan.On && v.Record.Retired.IsZero() {
			add(v.Name+" is powered off", false, func(_ *state, v *plan.VM) { v.Power, v.Guest, v.Age = plan.Off, plan.Guest{}, 0 })
			if v.Guest.State != "" {
				add(v.Name+" hangs", false, func(_ *state, v *plan.VM) { v.Guest = plan.Guest{} })
			}
		}
	}
	return append(out, x.resumed(s)...)
}

func (x *search) boot(v *plan.VM) {
	id := map[string]string{newISO: "sha256:new", oldISO: "sha256:old"}[v.ISO]
	v.Guest = plan.Guest{Tools: true, Token: v.Record.Token, ImageID: id, State: "running"}
	for _, d := range v.Disks {
		v.Guest.Mounts = append(v.Guest.Mounts, plan.GuestMount{Path: "/var/lib/docker", Serial: plan.SerialOf(d.UUID)})
	}
}

// resumed is a person who lets the fleet go again that stands still. It is no fair move: it is only asked for when Blocked says so.
func (x *search) resumed(s *state) []move {
	todo := plan.Resume(x.desired("person"), s.o, searchTime)
	if len(todo.Rolls) == 0 || s.lifts == 0 {
		return nil
	}
	n := s.clone()
	n.lifts--
	for _, r := range todo.Rolls {
		for _, step := range r.Steps {
			if _, err := x.rules.permit(n.o, step, x.desired("person"), searchTime); err == nil {
				n.o = effect(n.o, step)
			}
		}
	}
	return []move{{name: "a person resumes", to: n}}
}

// key is what two states have in common that are one.
func (s *state) key() [16]byte {
	h := sha256.New()
	for _, v := range s.o.VMs {
		r := v.Record
		booted := v.Guest.Token == r.Token
		fmt.Fprint(h, v.Name, v.ID, v.Fleet, v.Power, v.ISO, v.CPUs, v.MemoryMiB, v.Disks, v.Guest.State, booted, v.Guest.ImageID, len(v.Guest.Mounts), v.Age > time.Hour,
			r.Image, r.ImageID, r.Previous, r.Owner, tense(r.Expires), tense(r.Started), r.Disks, r.Failed, r.Paused, tense(r.Rolled), r.Due, r.Drained,
			tense(r.Ill), r.Spurned, r.Replaces, r.Takes, r.Generation, tense(r.Retired), "|")
	}
	for _, f := range s.o.Files {
		fmt.Fprint(h, f)
	}
	for _, a := range s.agents {
		fmt.Fprint(h, "agent", a.gated)
		for _, r := range a.rolls {
			fmt.Fprint(h, r.VM, r.Action)
			for _, st := range r.Steps {
				x := fmt.Sprintf("%T %s", st, st.VM())
				v := at(s.o, st.VM())
				switch st := st.(type) {
				case plan.Claim:
					if v != nil {
						x += fmt.Sprint(st.Epoch-v.Record.Epoch, st.Due)
					}
				case plan.InsertISO:
					if v != nil {
						x += fmt.Sprint(st.ISO, st.Record.Epoch-v.Record.Epoch)
					}
				case plan.AttachDisk:
					x += st.Disk.Path
				case plan.DetachDisk:
					x += st.Disk.Path
				}
				fmt.Fprint(h, x, ";")
			}
		}
		for n := 1; n <= 3; n++ {
			fmt.Fprint(h, a.then[n])
		}
	}
	fmt.Fprint(h, s.taken, s.faults, s.lifts)
	return [16]byte(h.Sum(nil))
}

func tense(t time.Time) int {
	if t.IsZero() {
		return 9
	}
	return t.Compare(searchTime)
}

// found is what a search has found out.
type found struct {
	states, moves int
	whole         bool     // every state was visited
	bad           []string // broken invariants, each with how to get there
	stuck         []string // states from which the end cannot be reached, nor a refusal
	ends          map[string]int
}

// visit searches breadth first, at most so many states.
func (x *search) visit(most int) found {
	type node struct {
		prev int32
		name string
	}
	out := found{ends: map[string]int{}}
	seen := map[[16]byte]int32{x.first.key(): 0}
	nodes := []node{{-1, ""}}
	queue := []*state{x.first}
	var from [][]int32 // reverse edges, fair moves only
	var end []string   // how a state ends; "" when something goes on by itself
	from = append(from, nil)
	way := func(i int32) string {
		var w []string
		for ; i > 0; i = nodes[i].prev {
			w = append(w, nodes[i].name)
		}
		slices.Reverse(w)
		return strings.Join(w, "\n    ")
	}
	for i := 0; i < len(queue) && len(out.bad) < 3; i++ {
		s := queue[i]
		queue[i] = nil
		end = append(end, x.end(s))
		for _, m := range x.moves(s) {
			out.moves++
			for _, b := range m.bad {
				out.bad = append(out.bad, b+"\n    "+way(int32(i))+"\n    "+m.name)
			}
			if m.to == nil {
				continue
			}
			k := m.to.key()
			to, ok := seen[k]
			if !ok {
				if len(queue) >= most {
					out.whole = false
					continue
				}
				to = int32(len(queue))
				seen[k] = to
				nodes, from = append(nodes, node{int32(i), m.name}), append(from, nil)
				queue = append(queue, m.to)
			}
			if m.fair || strings.HasPrefix(m.name, "a person resumes") {
				from[to] = append(from[to], int32(i))
			}
		}
	}
	out.states, out.whole = len(queue), len(queue) < most && len(out.bad) == 0
	if !out.whole {
		return out
	}
	reach := make([]bool, len(end))
	var todo []int32
	for i, e := range end {
		if e != "" {
			out.ends[e]++
		}
		if e == "done" || x.sick != "" && e != "" && e != "nothing is said" { // a sick image can only end in a refusal
			reach[i], todo = true, append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		i := todo[0]
		todo = todo[1:]
		for _, p := range from[i] {
			if !reach[p] {
				reach[p], todo = true, append(todo, p)
			}
		}
	}
	for i, r := range reach {
		if !r && len(out.stuck) < 3 {
			out.stuck = append(out.stuck, fmt.Sprintf("%q\n    %s", end[i], way(int32(i))))
		}
	}
	return out
}

// end tells whether a state is as wanted ("done"), waits for a person (the refusals' codes), or goes on ("").
func (x *search) end(s *state) string {
	for _, a := range s.agents {
		if len(a.rolls) > 0 {
			return ""
		}
	}
	for _, v := range s.o.VMs {
		if v.Record.Owner != "" && searchTime.Before(v.Record.Expires) {
			return ""
		}
	}
	p := plan.Compute(x.desired("judge"), s.o, searchTime)
	switch {
	case len(p.Waves) > 0:
		return ""
	case len(p.Blocked) > 0:
		codes := map[string]bool{}
		for _, b := range p.Blocked {
			codes[string(b.Code)] = true
		}
		return strings.Join(slices.Sorted(maps.Keys(codes)), " ")
	case len(p.Later) > 0:
		return "later"
	case len(p.Same) == len(x.d.VMs):
		return "done"
	}
	return "nothing is said"
}

// newSearch is the search of a scenario's states, with so many agents and faults.
func newSearch(d plan.Desired, w *world, agents, faults int) *search {
	x := &search{d: d, ledger: w.ledger}
	for i := range d.VMs {
		for _, k := range d.VMs[i].Disks {
			x.ledger.wanted[plan.DiskPath(d.Fleet, d.VMs[i], k)] = k.Bytes
		}
	}
	for image, sick := range w.sick {
		if sick {
			x.sick = image
		}
	}
	o := w.seen()
	for i := range o.VMs {
		r := &o.VMs[i].Record
		for _, t := range []*time.Time{&r.Rolled, &r.Ill, &r.Retired} {
			if !t.IsZero() {
				*t = searchTime.Add(-24 * time.Hour)
			}
		}
	}
	x.first = &state{o: o, taken: map[int]bool{}, faults: faults, lifts: faults + 1}
	for i := range agents {
		x.first.agents = append(x.first.agents, agent{who: string(rune('a' + i))})
	}
	return x
}

// TestSearch visits every state of every strategy's fleet and asserts the invariants in each, that Check lets every plan
// pass, and that the end can be reached from each by what happens by itself and, where Blocked says so, a person's resume.
func TestSearch(t *testing.T) {
	for _, sc := range scenarios {
		if sc.person != nil || sc.name == "two at once" {
			continue
		}
		for _, n := range []struct {
			agents, faults, most int
			long                 bool
		}{{1, 1, 1500, false}, {1, 1, 50000, true}, {2, 0, 30000, true}, {2, 1, 15000, true}} {
			if n.long != sweeping() {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d agents, %d faults", sc.name, n.agents, n.faults), func(t *testing.T) {
				t.Parallel()
				d, w := sc.make()
				if len(d.VMs) > 2 && sc.name != "scale-in" {
					d.VMs = d.VMs[:2]
					w.now.VMs = slices.DeleteFunc(w.now.VMs, func(v plan.VM) bool { return v.Ordinal > 2 })
					w.now.Files = slices.DeleteFunc(w.now.Files, func(f plan.DiskFile) bool { return strings.Contains(f.Path, "wrk-03") })
					w.ledger = newLedger()
				}
				f := newSearch(d, w, n.agents, n.faults).visit(n.most)
				t.Logf("%s: %d states, %d moves, all of them: %v, ends %v", t.Name(), f.states, f.moves, f.whole, f.ends)
				for _, b := range slices.Concat(f.bad, f.stuck) {
					t.Error(b)
				}
			})
		}
	}
}
