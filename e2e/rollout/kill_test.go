//go:build e2e

package rollout

import (
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// killedHandingOver kills lkv before and after each call of a hand-over. When it is killed while no VM has the disk,
// another machine takes over, once the claims of the first have expired, and is killed in the same way.
func (b *bench) killedHandingOver(one, two datum) {
	b.set("strategy", "blue-green")
	b.release("5", "true")
	b.verify(false)
	session, other, was := b.elsewhere(), b.machine("other"), b.says("host-01").diary
	from := lastOf(was)
	on := session
	points := b.relayed(func() *bench {
		if on == session && b.loose(one) {
			on = other
			if out := b.lkv(0, "disks", "list"); !strings.Contains(out, one.path) {
				b.Errorf("the disk that no VM has is not found:\n%s", out)
			}
		}
		return on
	}, one, two)
	moved := "host-01 Off " + from + ", host-01-green Off 5: ReconfigVM_Task"
	b.passes(points, "host-01 On disk "+from+": ReconfigVM_Task", // claim
		"host-01 On disk "+from+": CreateVM_Task ISO",
		"host-01 On disk "+from+", host-01-green Off 5: ShutdownGuest",
		"host-01 Off disk "+from+", host-01-green Off 5: ReconfigVM_Task", // detach
		moved, moved, moved, // the other machine's claims, attach
		"host-01 Off "+from+", host-01-green Off disk 5: PowerOnVM_Task",
		"host-01 Off "+from+", host-01-green On disk 5: ReconfigVM_Task", // the gate has held: retire
		"host-01-green On disk 5: ReconfigVM_Task",                       // rename
		"host-01 On disk 5: ReconfigVM_Task")                             // release
	if on != other {
		b.Error("lkv was never killed while no VM had the disk")
	}
	b.serves("host-01", "5", one, was+",5")
	if n := b.boots("host-01"); n != 1 {
		b.Errorf("host-01 was booted %d times: it is no new VM, or it was booted twice", n)
	}
	b.retired("handed over", 1)
	b.kept(one, two)
	b.lkv(0, "plan")
}

// lastOf returns the release that was booted last.
func lastOf(diary string) string { return diary[strings.LastIndex(diary, ",")+1:] }

// loose tells whether no VM has the disk.
func (b *bench) loose(d datum) bool {
	for _, v := range b.lab.VMs() {
		if slices.Contains(v.Disks, d.path) {
			return false
		}
	}
	return true
}

// killedInPlace kills lkv before and after each call of a roll in place, in a session and directory of its own each time.
func (b *bench) killedInPlace(one, two datum) {
	b.hooks()
	b.set("strategy", "in-place")
	b.release("6", "true")
	b.verify(false)
	before, was := b.boots("host-01"), b.says("host-01").diary
	points := b.relayed(b.elsewhere, one, two)
	old, now := "host-01 On disk "+lastOf(was)+": ", "host-01 On disk 6: "
	b.passes(points, old+"ReconfigVM_Task", old+"ReconfigVM_Task", old+"ShutdownGuest", // claim, drain
		"host-01 Off disk "+lastOf(was)+": ReconfigVM_Task ISO", "host-01 Off disk 6: PowerOnVM_Task",
		now+"ReconfigVM_Task", now+"ReconfigVM_Task") // the gate has held: restore, release
	b.serves("host-01", "6", one, was+",6")
	if n := b.boots("host-01"); n != before+1 {
		b.Errorf("host-01 was booted %d times, before %d", n, before)
	}
	if diff := cmp.Diff([]string{"drain host-01 keep", "restore host-01 keep"}, slices.Compact(b.hooks())); diff != "" {
		b.Errorf("hooks (-want +got):\n%s", diff)
	}
	b.lkv(0, "plan")
}
