//go:build e2e

package rollout

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
)

// fresh gives a VM's place to a new VM with a blank disk. First its image fails: the old VM has not noticed, and lkv
// rollback lets it stay. Then it works: the old VM is drained, off and retired with its disk, which nothing has touched
// since. The disks of what lkv gc removes are orphans.
func (b *bench) fresh(one, two datum) {
	b.set("strategy", "blue-green")
	b.set("disk", "fresh")
	b.hooks()
	was, boots := b.says("host-01").diary, b.boots("host-01")
	w := b.watch(one)
	spoilt := b.freshFails(one, two)
	b.serves("host-01", "7", one, was)
	if n := b.boots("host-01"); n != boots || len(b.hooks()) > 0 {
		b.Errorf("host-01 was booted %d times, before %d, or it was drained: its replacement had never worked", n, boots)
	}

	b.release("8", "true")
	b.lkv(0, "reconcile")
	b.verify(false)
	b.lab.OnCall(nil)
	three := b.first("host-01")
	b.serves("host-01", "8", three, "8")
	if diff := cmp.Diff([]string{"drain host-01 delete"}, b.hooks()); diff != "" {
		b.Errorf("hooks (-want +got):\n%s", diff)
	}
	b.freshFile(spoilt, one, "-g1.vmdk")
	b.freshFile(three, one, "-g2.vmdk")
	b.kept(one, two, spoilt, three)
	gone := slices.DeleteFunc(b.retiredVMs(), func(v lab.VM) bool { return len(v.Disks) == 0 })
	for i, disk := range []datum{spoilt, one} {
		if len(gone) != 2 || gone[i].Power != "poweredOff" || !slices.Equal(gone[i].Disks, []string{disk.path}) {
			b.Fatalf("the failed and the old VM are not retired with their disks: %+v", gone)
		}
	}
	b.orphans(two)

	b.lkv(0, "gc", "--vms", "--older-than", "0s", "--yes")
	b.verify(false)
	b.retired("gone", 0)
	b.kept(one, two, spoilt, three)
	b.orphans(one, two, spoilt)
	if got := b.sum(one); w.off == "" || got != w.off {
		b.Errorf("the disk of the VM that was replaced is not as its guest left it: %s, was %q", got, w.off)
	}
	for _, problem := range w.problems {
		b.Error(problem)
	}
	b.lkv(0, "plan")
}

// freshFails gives the place to a VM whose image fails, and takes that back. It returns the blank disk of that VM.
func (b *bench) freshFails(one, two datum) datum {
	b.Helper()
	var old []string
	for _, v := range b.retiredVMs() {
		old = append(old, v.Name)
	}
	b.release("spoilt", "false")
	b.lkv(1, "reconcile")
	b.verify(false)
	green := slices.DeleteFunc(b.retiredVMs(), func(v lab.VM) bool { return slices.Contains(old, v.Name) })
	if len(green) != 1 || green[0].Power != "poweredOff" {
		b.Fatalf("the VM that failed is not kept for evidence, and off: %+v", green)
	}
	spoilt := b.first(green[0].Name)
	b.kept(one, two, spoilt)
	if out := b.lkv(3, "reconcile"); !strings.Contains(out, "R12") {
		b.Errorf("the fleet does not stand still:\n%s", out)
	}
	b.lkv(0, "rollback", "--fleet", "hosts")
	b.verify(false)
	b.lkv(0, "plan")
	return spoilt
}

// freshFile wants a blank disk to lie beside the one of the VM that was replaced, under a name of its own.
func (b *bench) freshFile(d, old datum, end string) {
	b.Helper()
	if want := strings.TrimSuffix(old.path, ".vmdk") + end; d.path != want || d.uuid == old.uuid || d.precious == old.precious {
		b.Errorf("the blank disk is %+v, want %s; the old one is %+v", d, want, old)
	}
}

func (b *bench) retiredVMs() []lab.VM {
	return slices.DeleteFunc(b.lab.VMs(), func(v lab.VM) bool { return !strings.Contains(v.Name, "-retired-") })
}

// orphans wants lkv disks list to show these disks, and no others, as nobody's.
func (b *bench) orphans(disks ...datum) {
	b.Helper()
	var doc struct {
		Disks []struct{ Path, UUID, State string }
	}
	if err := json.Unmarshal([]byte(b.lkv(0, "disks", "list", "--orphans", "--json")), &doc); err != nil {
		b.Fatal(err)
	}
	var want, got []string
	for _, d := range disks {
		want = append(want, d.path)
	}
	for _, d := range doc.Disks {
		got = append(got, d.Path)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("orphans (-want +got):\n%s", diff)
	}
}

// watcher looks at a fleet of one VM before each call of a roll.
type watcher struct {
	mu       sync.Mutex
	off      string   // SHA-256 of the old VM's disk, when that was off
	problems []string // calls before which no VM served
}

func (b *bench) watch(d datum) *watcher {
	w := &watcher{}
	b.lab.OnCall(func(c lab.Call) lab.Fault {
		w.mu.Lock()
		defer w.mu.Unlock()
		serving := false
		for _, v := range b.lab.VMs() {
			serving = serving || v.Power == "poweredOn" && v.Tools
			if w.off == "" && v.Power == "poweredOff" && slices.Contains(v.Disks, d.path) {
				w.off = b.sum(d)
			}
		}
		if !serving {
			w.problems = append(w.problems, "no VM serves before "+c.String())
		}
		return lab.None
	})
	return w
}

// sum is the SHA-256 of all bytes of a disk.
func (b *bench) sum(d datum) string {
	f, err := os.Open(strings.TrimSuffix(b.local(d), ".vmdk") + "-flat.vmdk")
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
