package plan

import (
	"fmt"
	"time"
)

// healing tells whether a VM that is on has not served for as long as is waited before it is power cycled.
func healing(want Desired, v VM, now time.Time) bool {
	h, ill := want.Rollout.Heal, v.Record.Ill
	return h > 0 && !ill.IsZero() && now.Sub(ill) >= h && targeted(want, v.Name)
}

// noting plans to write down that a VM does not serve, or that it does again: the time of the first look that saw it
// stands nowhere else.
func noting(m member, ill time.Time) member {
	m.kind, m.action, m.steps = unnoted, Note, []Step{Mark{base: Of(m.vm.Name), Ill: ill}}
	if ill.IsZero() {
		m.reason = "it serves again"
	}
	return m
}

// silent plans a VM that is on and as wanted, has no roll under way, and does not serve.
func silent(want Desired, m member, now time.Time) member {
	h, ill := want.Rollout.Heal, m.vm.Record.Ill
	if h > 0 && ill.IsZero() && targeted(want, m.want.Name) {
		return noting(m, now)
	}
	if h > 0 && targeted(want, m.want.Name) {
		m.kind, m.until = ailing, ill.Add(h)
		m.reason = fmt.Sprintf("it does not serve: %s; it is power cycled when it has not served for %s", m.reason, h)
		return m
	}
	b := Blocked{VM: m.vm.Name, Code: R12, Reason: "it does not serve: " + m.reason,
		Clear: "look at its console; cure the cause and restart it in the vSphere client, or push a repaired image; the fleet goes on when it serves again"}
	m.blocked = &b
	return m
}
