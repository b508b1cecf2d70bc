package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// A fleet that shrinks and grows again: the VM that was retired keeps the disk of its place, and what the refusal says
// to do gives it, with its bytes, to the new VM.
func TestLargerAgain(t *testing.T) {
	t.Parallel()
	m := newMission(t, lab.Paper{})
	large := strings.Replace(missionSpec, "  ready {", shrinking, 1)
	m.write("lkv.hcl", large)
	m.release("1")
	m.lkv(exitOK, "reconcile")
	o := m.operator("DC1")
	disk := slices.Collect(maps.Keys(o.disks("host-03")))
	m.write("lkv.hcl", strings.Replace(large, "size  = 3", "size  = 2", 1))
	m.lkv(exitOK, "reconcile")

	m.write("lkv.hcl", large)
	m.expect(plan.R06, "host-03", "lkv gc --vms --fleet docker --older-than 0s; it shows the retired VMs that it removes")
	m.lkv(exitOK, "gc", "--yes", "--vms", "--fleet", "docker", "--older-than", "0s")
	m.lkv(exitOK, "reconcile")
	if got := slices.Collect(maps.Keys(o.disks("host-03"))); len(got) != 1 || !slices.Equal(got, disk) {
		t.Errorf("host-03 has %v, and had %v", got, disk)
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}
