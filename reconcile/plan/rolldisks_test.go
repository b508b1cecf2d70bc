package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDataDisksOfARoll: what a person who approves a roll is shown of its data disks: whose they are before and after, and
// that none is lost. The fleet has disks docker and logs; the roll is the plan's first.
func TestDataDisksOfARoll(t *testing.T) {
	path := func(n int, disk string) string {
		return DiskPath("workers", wish(n, disk).VMs[n-1], WantDisk{Name: disk})
	}
	kept := func(n, i int, disk string) RollDisk {
		vm := wish(n).VMs[n-1].Name
		return RollDisk{UUID: uuidOf(n, i), Path: path(n, disk), From: vm, To: vm}
	}
	for name, c := range map[string]struct {
		world func(d *Desired, o *Observed)
		want  []RollDisk
	}{
		"rolled: they stay": {func(_ *Desired, o *Observed) { each(o, outdate, 2) }, []RollDisk{kept(2, 0, "docker"), kept(2, 1, "logs")}},
		"made for the first time": {func(_ *Desired, o *Observed) { *o = Observed{VMs: o.VMs[1:], Files: o.Files[2:]} },
			[]RollDisk{{Path: path(1, "docker"), To: "wrk-01"}, {Path: path(1, "logs"), To: "wrk-01"}}},
		"made again, one of its files is there": {func(_ *Desired, o *Observed) { *o = Observed{VMs: o.VMs[1:], Files: o.Files[1:]} },
			[]RollDisk{{Path: path(1, "docker"), To: "wrk-01"}}},
		"being made, one is attached": {func(_ *Desired, o *Observed) {
			each(o, abandoned, 1)
			each(o, powerOff, 1)
			o.VMs[0].Disks = o.VMs[0].Disks[:1]
		}, []RollDisk{kept(1, 0, "docker"), {UUID: uuidOf(1, 1), Path: path(1, "logs"), To: "wrk-01"}}},
		"claimed by a dead run: they stay": {func(_ *Desired, o *Observed) { each(o, abandoned, 1) }, []RollDisk{kept(1, 0, "docker"), kept(1, 1, "logs")}},
		"moved: the path is where it is now": {func(_ *Desired, o *Observed) {
			each(o, outdate, 1)
			o.VMs[0].Disks[0].Path = "[hdd] moved.vmdk"
		}, []RollDisk{{UUID: uuidOf(1, 0), Path: "[hdd] moved.vmdk", From: "wrk-01", To: "wrk-01"}, kept(1, 1, "logs")}},
		"a stranger of the same name is none of it": {func(_ *Desired, o *Observed) {
			each(o, outdate, 1)
			o.VMs = append(o.VMs, VM{Name: "elsewhere", Disks: []Disk{{UUID: "x", Path: "[a] x.vmdk"}}})
		}, []RollDisk{kept(1, 0, "docker"), kept(1, 1, "logs")}},
		"retired: they go with it, under its new name": {func(d *Desired, _ *Observed) { d.VMs, d.Rollout.ScaleIn = d.VMs[:2], 1 },
			[]RollDisk{goes(kept(3, 0, "docker")), goes(kept(3, 1, "logs"))}},
		"given back: nothing happens to them": {func(d *Desired, o *Observed) {
			d.Rollout.Window = tomorrow()
			each(o, outdate, 1)
			each(o, abandoned, 1)
		}, []RollDisk{kept(1, 0, "docker"), kept(1, 1, "logs")}},
	} {
		d := wish(3, "docker", "logs")
		o := fleetOf(d, newDigest)
		c.world(&d, &o)
		p := Compute(d, o, t0)
		if len(p.Waves) == 0 {
			t.Errorf("%s: %+v", name, p)
			continue
		}
		before := o.Clone()
		if diff := cmp.Diff(c.want, p.Waves[0].Rolls[0].DataDisks(o)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(before, o); diff != "" {
			t.Errorf("%s: asking changed the world:\n%s", name, diff)
		}
	}
}

func goes(d RollDisk) RollDisk {
	d.To = "wrk-03-retired-20260301-1200"
	return d
}

// TestDataDisksOfAStranger: a VM that lkv does not manage has no data disks, even when a roll has its name.
func TestDataDisksOfAStranger(t *testing.T) {
	o := Observed{VMs: []VM{{Name: "wrk-01", Disks: []Disk{{UUID: "x", Path: "[a] x.vmdk"}}}}}
	r := Roll{VM: "wrk-01", Steps: []Step{Pause{Of("wrk-01")}}}
	if got := r.DataDisks(o); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

// TestNamesOfDisksAndVMs: where files lie and what VMs are called, which nothing may ever change: the disks of fleets that
// run lie there.
func TestNamesOfDisksAndVMs(t *testing.T) {
	w := WantVM{Name: "wrk-01", Place: Placement{Datastore: "/DC1/datastore/ssd-1"}}
	docker := WantDisk{Name: "docker"}
	taken := Observed{VMs: []VM{{Name: "a-retired-20260301-1200"}, {Name: "a-retired-20260301-1200-2"}}}
	for _, c := range []struct{ got, want string }{
		{DiskPath("workers", w, docker), "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"},
		{DiskPath("workers", w, WantDisk{Name: "docker", Datastore: "hdd"}), "[hdd] lkv-disks/workers/wrk-01-docker.vmdk"},
		{GenerationPath("workers", w, docker, 0), "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"},
		{GenerationPath("workers", w, docker, 1), "[ssd-1] lkv-disks/workers/wrk-01-docker-g1.vmdk"},
		{GenerationPath("workers", w, docker, 12), "[ssd-1] lkv-disks/workers/wrk-01-docker-g12.vmdk"},
		{MadePath("workers", "wrk-01", 2, DiskRecord{Name: "docker", Path: "[hdd] lkv-disks/workers/wrk-01-docker.vmdk"}), "lkv-disks/workers/wrk-01-docker.vmdk"},
		{MadePath("workers", "wrk-01", 2, DiskRecord{Name: "docker", Path: "[hdd] moved/x.vmdk"}), "lkv-disks/workers/wrk-01-docker-g2.vmdk"},
		{MadePath("workers", "wrk-01", 0, DiskRecord{Name: "docker", Path: "[hdd] lkv-disks/workers-2/x.vmdk"}), "lkv-disks/workers/wrk-01-docker.vmdk"},
		{MadePath("workers", "wrk-01", 0, DiskRecord{Name: "docker"}), "lkv-disks/workers/wrk-01-docker.vmdk"},
		{GreenName("wrk-01"), "wrk-01-green"},
		{RetiredName("wrk-01", t0), "wrk-01-retired-20260301-1200"},
		{Observed{}.retiredName("a", t0), "a-retired-20260301-1200"},
		{taken.retiredName("a", t0), "a-retired-20260301-1200-3"},
		{taken.retiredName("b", t0), "b-retired-20260301-1200"},
		{Token(newDigest, 1), "bbbbbbbbbbbb-1"},
		{Token("abc", 12), "abc-12"},
		{Token("", 0), "-0"},
		{short("sha256:" + newDigest), "bbbbbbbbbbbb"},
		{short("twelve12345x"), "twelve12345x"},
		{SerialOf("6000c29A bc-DE\u00e4"), "6000c29abcde\u00e4"},
		{inDatastore("[a b] c/d.vmdk"), "c/d.vmdk"},
		{inDatastore("c/d.vmdk"), "c/d.vmdk"},
		{inDatastore("[a] c] d.vmdk"), "c] d.vmdk"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
