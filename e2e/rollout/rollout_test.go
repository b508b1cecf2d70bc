//go:build e2e

// Package rollout rolls a small fleet of real machines in every way there is, and looks whether the data is still on
// its disks. It runs the real lkv binary against a lab of QEMU machines; `make demo-test` prepares both.
package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRollout is one story: each part begins with the fleet that the one before has left.
func TestRollout(t *testing.T) {
	b := newBench(t)
	var one, two datum
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"create", func() { one, two = b.create() }},
		{"in place", func() { b.inPlace(one, two) }},
		{"rolled back", func() { b.rolledBack(one, two) }},
		{"repaired", func() { b.repaired(one, two) }},
		{"hand-over", func() { b.handOver(one, two) }},
		{"grow", func() { b.grow(one, two) }},
		{"killed handing over", func() { b.killedHandingOver(one, two) }},
		{"handed back", func() { b.handedBack(one, two) }},
		{"daemon", func() { b.daemon(one, two) }},
		{"killed in place", func() { b.killedInPlace(one, two) }},
		{"contended", func() { b.contended(one, two) }},
		{"fresh", func() { b.fresh(one, two) }},
	} {
		began := time.Now()
		part.run()
		t.Logf("%5.1f s  == %s", time.Since(began).Seconds(), part.name)
		if t.Failed() {
			t.FailNow() // what follows would only repeat it
		}
	}
}

func (b *bench) create() (one, two datum) {
	b.release("1", "true")
	b.lkv(0, "reconcile")
	b.verify(false)
	one, two = b.first("host-01"), b.first("host-02")
	b.serves("host-01", "1", one, "1")
	b.serves("host-02", "1", two, "1")
	if one.uuid == two.uuid || one.precious == two.precious {
		b.Errorf("two disks are alike: %+v, %+v", one, two)
	}
	return one, two
}

// inPlace rolls both VMs; the hook hears of each before it goes and after it is back, one VM at a time.
func (b *bench) inPlace(one, two datum) {
	b.hooks()
	b.release("2", "true")
	b.lkv(0, "reconcile")
	b.verify(false)
	b.serves("host-01", "2", one, "1,2")
	b.serves("host-02", "2", two, "1,2")
	b.kept(one, two)
	b.orderly("host-01", 1)
	b.orderly("host-02", 1)
	want := []string{"drain host-01 keep", "restore host-01 keep", "drain host-02 keep", "restore host-02 keep"}
	if diff := cmp.Diff(want, b.hooks()); diff != "" {
		b.Errorf("hooks (-want +got):\n%s", diff)
	}
	b.lkv(0, "plan")
}

// rolledBack gives the fleet an image that fails after it has written to the disk: the VM gets the image before back,
// and the fleet stands still.
func (b *bench) rolledBack(one, two datum) {
	b.release("bad", "false")
	before := b.boots("host-02")
	if out := b.lkv(1, "reconcile"); !strings.Contains(out, "host-01") {
		b.Errorf("nobody says which VM failed:\n%s", out)
	}
	b.verify(false)
	b.serves("host-01", "2", one, "1,2,bad,2")
	b.serves("host-02", "2", two, "1,2")
	b.kept(one, two)
	calls := len(b.lab.Journal())
	if out := b.lkv(3, "reconcile"); !strings.Contains(out, "R12") {
		b.Errorf("the fleet does not stand still:\n%s", out)
	}
	if n := len(b.lab.Journal()) - calls; n != 0 || b.boots("host-02") != before {
		b.Errorf("%d calls while the fleet stands still; host-02 was booted %d times, before %d", n, b.boots("host-02"), before)
	}
}

// repaired goes on with an image that works, and with one VM less: that one is off, and its disk stays.
func (b *bench) repaired(one, two datum) {
	b.release("3", "true")
	b.lkv(3, "reconcile") // still: a person has to look first
	b.lkv(0, "resume", "--fleet", "hosts")
	b.set("size", "1")
	b.lkv(0, "reconcile")
	b.verify(false)
	b.serves("host-01", "3", one, "1,2,bad,2,3")
	b.retired("scaled in", 1)
	b.kept(one, two)
}

// handOver gives the disk of one VM to a second VM object, and retires the other VM. Both retired VMs are then removed;
// the disks stay.
func (b *bench) handOver(one, two datum) {
	b.set("strategy", "blue-green")
	b.release("4", "true")
	b.lkv(0, "reconcile")
	b.verify(false)
	b.serves("host-01", "4", one, "1,2,bad,2,3,4")
	if n := b.boots("host-01"); n != 1 {
		b.Errorf("host-01 was booted %d times: it is no new VM", n)
	}
	b.retired("handed over", 2)
	b.kept(one, two)
	b.lkv(0, "gc", "--vms", "--older-than", "0s", "--yes")
	b.verify(false)
	b.retired("gone", 0)
	b.serves("host-01", "4", one, "1,2,bad,2,3,4")
	b.kept(one, two)
}

// retired wants so many retired VMs, all off.
func (b *bench) retired(what string, want int) {
	b.Helper()
	n := 0
	for _, v := range b.lab.VMs() {
		if v.Name == "host-01" {
			continue
		}
		if n++; v.Power != "poweredOff" || !strings.Contains(v.Name, "-retired-") {
			b.Errorf("%s: not retired and off: %+v", what, v)
		}
	}
	if n != want {
		b.Errorf("%s: %d retired VMs, want %d", what, n, want)
	}
}

// grow makes the disk larger, and the file system with it.
func (b *bench) grow(one, two datum) {
	before := b.says("host-01").bytes
	b.set("strategy", "in-place")
	b.set("gib", "2")
	b.lkv(0, "reconcile")
	b.verify(false)
	b.serves("host-01", "4", one, "1,2,bad,2,3,4,4")
	if after := b.says("host-01").bytes; before > 1<<30 || after < 2*before-before/8 || after > 2<<30 {
		b.Errorf("the file system has %d bytes, had %d", after, before)
	}
	b.kept(one, two)
}

// handedBack gives the disk to a second VM whose image fails after it has written to the disk: the disk goes back to the
// VM before, which serves again with its own image. lkv rollback then takes the image out of everybody's way.
func (b *bench) handedBack(one, two datum) {
	b.release("worse", "false")
	before := b.boots("host-01")
	b.lkv(1, "reconcile")
	b.verify(false)
	b.serves("host-01", "5", one, "1,2,bad,2,3,4,4,5,worse,5")
	if n := b.boots("host-01"); n != before+1 {
		b.Errorf("host-01 was booted %d times, before %d: it is not the VM that it was", n, before)
	}
	b.retired("handed back", 2)
	b.kept(one, two)
	if out := b.lkv(3, "reconcile"); !strings.Contains(out, "R12") {
		b.Errorf("the fleet does not stand still:\n%s", out)
	}
	b.lkv(0, "rollback", "--fleet", "hosts")
	b.verify(false)
	b.lkv(0, "plan")
}

// daemon cuts the power of a VM while lkv watches: it is powered on again, and the next look was not due for an hour.
func (b *bench) daemon(one, two datum) {
	p := b.start("reconcile", "--watch", "--interval", "1h", "--listen", "")
	b.until("the daemon has looked", func() bool { return strings.Contains(p.out.String(), "converged") })
	if err := b.lab.CutPower("host-01"); err != nil {
		b.Fatal(err)
	}
	b.until("it is on again and the fleet is as wanted", func() bool { return strings.Count(p.out.String(), "converged") > 1 })
	p.stop()
	b.verify(false)
	b.serves("host-01", "5", one, "1,2,bad,2,3,4,4,5,worse,5,5")
	b.kept(one, two)
}
