package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRecordOfANewVM: everything that is written into a VM as it is made, to the last field, and how it is made.
func TestRecordOfANewVM(t *testing.T) {
	d := locked(wish(1, "docker", "logs"), ChainKey)
	d.Image.Engine = "28.3.1"
	w := d.VMs[0]
	docker, logs := DiskPath("workers", w, w.Disks[0]), DiskPath("workers", w, w.Disks[1])
	o := Observed{Files: []DiskFile{{Path: logs, UUID: uuidOf(1, 1), Bytes: 10 << 30}}, Made: []string{inDatastore(logs)}}
	p := Compute(d, o, t0)
	if diff := cmp.Diff(CreateDisk{base: Of("wrk-01"), Place: w.Place, Disk: w.Disks[0], Path: docker}, stepFor[CreateDisk](t, p, "wrk-01"), steps); diff != "" {
		t.Error(diff)
	}
	want := CreateVM{base: Of("wrk-01"), Want: w, Fleet: "workers", ISO: newISO, Record: Record{
		Image: newDigest, ImageID: "sha256:new", Token: "bbbbbbbbbbbb-1", Key: KeyOf(certificate), Epoch: 1,
		Owner: me, Expires: t0.Add(2 * time.Minute), Started: t0, Engine: "28.3.1",
		Disks: []DiskRecord{
			{Name: "docker", Path: docker, Label: "docker", Filesystem: "ext4"},
			{Name: "logs", UUID: uuidOf(1, 1), Path: logs, Label: "logs", Filesystem: "ext4"},
		}}}
	made := stepFor[CreateVM](t, p, "wrk-01")
	if diff := cmp.Diff(want, made, steps); diff != "" {
		t.Error(diff)
	}
	if got := doing(p, "wrk-01"); got != "createdisk createvm attachdisk attachdisk installkey poweron awaitready release" {
		t.Error(got)
	}
	made.Want.Disks[0].Name, made.Want.ExtraConfig["guestinfo.lkv.role"] = "x", "x"
	if w.Disks[0].Name != "docker" || w.ExtraConfig["guestinfo.lkv.role"] != "worker" {
		t.Error("the step shares memory with the wish")
	}
}

// TestRecordOfADiskWithoutAMount: a disk that the image does not mount is made and recorded all the same, and nothing is
// said of its label, because nobody has formatted it.
func TestRecordOfADiskWithoutAMount(t *testing.T) {
	d := wish(1, "docker")
	d.VMs[0].Disks = append(d.VMs[0].Disks, WantDisk{Name: "spare", Bytes: 1 << 30})
	p := Compute(d, Observed{}, t0)
	got := stepFor[CreateVM](t, p, "wrk-01").Record.Disks
	want := DiskRecord{Name: "spare", Path: "[ssd-1] lkv-disks/workers/wrk-01-spare.vmdk"}
	if len(got) != 2 || got[1] != want {
		t.Errorf("%+v", got)
	}
	if gate := stepFor[AwaitReady](t, p, "wrk-01"); len(gate.Mounts) != 1 || gate.Mounts[0].Path != "/var/lib/docker" {
		t.Errorf("the gate asks for %+v", gate.Mounts)
	}
}

// TestRecordOfASwap: what one call writes together with the ISO, for each way to get there. The VM's record is full.
func TestRecordOfASwap(t *testing.T) {
	full := Record{Image: oldDigest, ImageID: "sha256:old", Previous: "older", PreviousISO: "[iso] older.iso", PreviousID: "sha256:older",
		Token: "aaaaaaaaaaaa-3", Epoch: 3, Engine: "27.5", EngineWas: "26.1", Rolled: t0.Add(-time.Hour), Spurned: "bad", Due: true}
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		want  func(r *Record)
	}{
		"another image: the way back is what ran, and has passed": {func(*Desired, *VM) {}, func(r *Record) {
			r.Previous, r.PreviousISO, r.PreviousID, r.EngineWas, r.Engine, r.Rolled = oldDigest, oldISO, "sha256:old", "27.5", "28.3.1", time.Time{}
		}},
		"what ran never passed: the way back stays": {func(_ *Desired, v *VM) { v.Record.Rolled = time.Time{} }, func(r *Record) {
			r.Rolled, r.Engine = time.Time{}, "28.3.1"
		}},
		"what ran never passed, and nothing ran before it": {func(_ *Desired, v *VM) {
			v.Record.Rolled, v.Record.Previous, v.Record.PreviousISO, v.Record.PreviousID = time.Time{}, "", "", ""
		}, func(r *Record) {
			r.Previous, r.PreviousISO, r.PreviousID, r.EngineWas, r.Engine, r.Rolled = oldDigest, oldISO, "sha256:old", "27.5", "28.3.1", time.Time{}
		}},
		"an older engine leaves the newest": {func(_ *Desired, v *VM) { v.Record.Engine = "28.3.1" }, func(r *Record) {
			r.Previous, r.PreviousISO, r.PreviousID, r.EngineWas, r.Engine, r.Rolled = oldDigest, oldISO, "sha256:old", "28.3.1", "28.3.1", time.Time{}
		}},
		"the same image, booted afresh: the way back and its time stay": {func(d *Desired, v *VM) { d.Rollout.MaxAge = time.Minute; renewed(v) }, func(r *Record) { r.Engine = "28.3.1" }},
		"the CD-ROM held something else: that is what was there": {func(_ *Desired, v *VM) { v.ISO = "[iso] by-hand.iso" }, func(r *Record) {
			r.Previous, r.PreviousISO, r.PreviousID, r.EngineWas, r.Engine, r.Rolled = oldDigest, "[iso] by-hand.iso", "sha256:old", "27.5", "28.3.1", time.Time{}
		}},
	} {
		d := wish(1)
		d.Image.Engine = "28.3.1"
		o := fleetOf(d, oldDigest)
		o.VMs[0].Record = full
		c.spoil(&d, &o.VMs[0])
		in := stepFor[InsertISO](t, Compute(d, o, t0), "wrk-01")
		want := full
		want.Image, want.ImageID, want.Token, want.Epoch = newDigest, "sha256:new", "bbbbbbbbbbbb-4", 4
		want.Owner, want.Started, want.Expires, want.Due = me, t0, t0.Add(2*time.Minute), false
		if o.VMs[0].Record.Previous == "" {
			want.Previous, want.PreviousISO, want.PreviousID = "", "", ""
		}
		c.want(&want)
		if in.ISO != newISO {
			t.Errorf("%s: %s", name, in.ISO)
		}
		if diff := cmp.Diff(want, in.Record); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestClaims: when a claim is taken, when ours is gone on with, and what it writes.
func TestClaims(t *testing.T) {
	began := t0.Add(-10 * time.Minute)
	for name, c := range map[string]struct {
		spoil func(v *VM)
		want  *Claim // nil: gone on with
	}{
		"nobody has it":                     {func(*VM) {}, &Claim{Epoch: 4, Started: t0}},
		"ours is alive":                     {func(v *VM) { v.Record.Owner, v.Record.Expires = me, t0.Add(1) }, nil},
		"ours ended at this moment":         {func(v *VM) { v.Record.Owner, v.Record.Expires = me, t0 }, &Claim{Epoch: 4, Started: began}},
		"ours ended long ago":               {func(v *VM) { v.Record.Owner, v.Record.Expires = me, began }, &Claim{Epoch: 4, Started: began}},
		"another's ended at this moment":    {func(v *VM) { v.Record.Owner, v.Record.Expires = other, t0 }, &Claim{Epoch: 4, Started: began}},
		"its time is left without its name": {func(v *VM) { v.Record.Expires = t0.Add(time.Hour) }, &Claim{Epoch: 4, Started: began}},
		"it was due, and stays so":          {func(v *VM) { v.Record.Due = true }, &Claim{Epoch: 4, Started: began, Due: true}},
	} {
		d := wish(1, "docker")
		o := fleetOf(d, oldDigest)
		if name != "nobody has it" {
			o.VMs[0].Record.Started = began
		}
		c.spoil(&o.VMs[0])
		p := Compute(d, o, t0)
		var got *Claim
		for _, s := range flat(p) {
			if s, ok := s.(Claim); ok {
				got = &s
			}
		}
		if c.want != nil {
			c.want.base, c.want.Owner, c.want.TTL, c.want.Expires = Of("wrk-01"), me, 2*time.Minute, t0.Add(2*time.Minute)
		}
		if diff := cmp.Diff(c.want, got, steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if in := stepFor[InsertISO](t, p, "wrk-01"); c.want != nil && (in.Record.Expires != c.want.Expires || in.Record.Owner != me || in.Record.Epoch != 4 || in.Record.Started != c.want.Started) {
			t.Errorf("%s: the swap is written over %+v", name, in.Record)
		}
	}
}

// TestDueIsWritten: a fresh boot of a VM on which nothing differs is noted in its claim, because nothing else would tell
// a run that comes after; any other roll is told by what differs.
func TestDueIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		due   bool
	}{
		"too old":                      {func(d *Desired, v *VM) { d.Rollout.MaxAge = time.Minute }, true},
		"too old, and of another size": {func(d *Desired, v *VM) { d.Rollout.MaxAge = time.Minute; smaller(v) }, false},
		"another image":                {func(_ *Desired, v *VM) { outdate(v) }, false},
		"does not serve": {func(d *Desired, v *VM) {
			d.Rollout.Heal = time.Minute
			silence(v)
			v.Record.Ill = t0.Add(-time.Minute)
		}, true},
		"off": {func(_ *Desired, v *VM) { powerOff(v) }, false},
		"off, and it was too old": {func(d *Desired, v *VM) {
			d.Rollout.MaxAge = time.Minute
			v.Power, v.Guest = Off, Guest{}
		}, false},
	} {
		d := wish(1, "docker")
		o := fleetOf(d, newDigest)
		c.spoil(&d, &o.VMs[0])
		if got := stepFor[Claim](t, Compute(d, o, t0), "wrk-01"); got.Due != c.due {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
