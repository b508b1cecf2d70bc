package plan

import (
	"slices"
	"time"
)

// sagas are what fleets live through.
func sagas() map[string]saga {
	six := func(bound func(r *Rollout)) func() (Desired, Observed) {
		return func() (Desired, Observed) {
			d, o := fleetWith(6, oldDigest)()
			for i := range o.VMs {
				o.VMs[i].Record.Rolled = t0.AddDate(0, -1, 0)
			}
			bound(&d.Rollout)
			return d, o
		}
	}
	grown := func(n int) func(*Desired, *Observed) {
		return func(d *Desired, _ *Observed) { d.VMs = sized(d, n) }
	}
	return map[string]saga{
		"a life of a fleet": {func() (Desired, Observed) {
			d := wish(3, "docker")
			d.Rollout.ScaleIn, d.Rollout.Drain = 2, true
			return d, Observed{}
		}, []event{
			{60, "the fleet is made larger, from 3 to 6", grown(6)},
			{120, "image c is pushed", push("c", "")},
			{240, "the VMs get 4 CPUs", func(d *Desired, _ *Observed) {
				for i := range d.VMs {
					d.VMs[i].CPUs = 4
				}
			}},
			{400, "the fleet is made smaller, from 6 to 2", grown(2)},
			{420, "by two first, to 4", grown(4)},
			{440, "then to 2", grown(2)},
			{500, "and larger again, to 3: the disk of the third is with the VM that was retired", grown(3)},
		}},
		"canaries, a window, and a canary that falls ill": {six(func(r *Rollout) {
			r.MaxUnavailable, r.Canaries, r.Bake = 2, 2, time.Hour
			r.Window = &Window{From: 11 * time.Hour, To: 15 * time.Hour}
		}), []event{
			{40, "canary wrk-01 stops serving", vms(silence, 1)},
			{100, "a person brings it back", func(d *Desired, o *Observed) {
				i := slices.IndexFunc(o.VMs, func(v VM) bool { return v.Name == "wrk-01" })
				rec := o.VMs[i].Record
				o.VMs[i] = standing(*d, d.VMs[0], newDigest)
				o.VMs[i].Record.Rolled, o.VMs[i].Guest.Token, o.VMs[i].Record.Token = rec.Rolled, rec.Token, rec.Token
			}},
		}},
		"a bad image, rolled back, resumed, and repaired": {six(func(r *Rollout) { r.OnFailure = "rollback" }), []event{
			{30, "another run rolls wrk-04, and its gate does not pass", failing("wrk-04")},
			{80, "a person resumes: the same image is tried again", resume},
			{200, "image c is pushed", push("c", "")},
		}},
		"a newer engine is a way without return": {six(func(r *Rollout) { r.OnFailure = "rollback" }), []event{
			{0, "image c with a newer engine is pushed", func(d *Desired, o *Observed) {
				push("c", "29.0")(d, o)
				for i := range o.VMs {
					o.VMs[i].Record.Engine = "28.3.1"
				}
			}},
			{30, "another run rolls wrk-04, and its gate does not pass", failing("wrk-04")},
			{80, "image b with the engine before is pushed", push("b", "28.3.1")},
			{90, "a person resumes", resume},
			{100, "image d with the newer engine is pushed", push("d", "29.0")},
		}},
		"a host dies, and the brake holds": {six(func(r *Rollout) { r.MaxUnavailable, r.Heal = 1, 15*time.Minute }), []event{
			{25, "three VMs go silent at once", vms(silence, 4, 5, 6)},
			{60, "two of them come back", func(d *Desired, o *Observed) {
				for _, i := range []int{3, 4} {
					rec := o.VMs[i].Record
					o.VMs[i] = standing(*d, d.VMs[i], rec.Image)
					o.VMs[i].Record.Ill, o.VMs[i].Record.Rolled = rec.Ill, rec.Rolled
				}
			}},
		}},
		"two runs at once": {six(func(r *Rollout) { r.MaxUnavailable = 1 }), []event{
			{0, "another run claims wrk-03 at the same moment", vms(heldBy(other), 3)},
			{25, "another run claims wrk-05, and lives", vms(func(v *VM) {
				v.Record.Owner, v.Record.Epoch, v.Record.Started, v.Record.Expires = other, v.Record.Epoch+1, t0.Add(25*time.Minute), t0.Add(60*time.Minute)
			}, 5)},
		}},
		"old VMs are booted afresh in the night": {func() (Desired, Observed) {
			d, o := fleetWith(4, newDigest)()
			d.Rollout.MaxAge, d.Rollout.Drain = 90*24*time.Hour, true
			d.Rollout.Window = &Window{From: 22 * time.Hour, To: 22*time.Hour + 15*time.Minute}
			each(&o, func(v *VM) { v.Age = 91 * 24 * time.Hour }, 1, 3, 4)
			return d, o
		}, nil},
		"a disk grows, one is too large to shrink": {func() (Desired, Observed) {
			d, o := fleetWith(3, newDigest)()
			return d, o
		}, []event{
			{10, "the disks of the first two are to be 20 GiB", func(d *Desired, _ *Observed) {
				d.VMs[0].Disks[0].Bytes, d.VMs[1].Disks[0].Bytes = 20<<30, 20<<30
			}},
			{60, "the first one's is to be 5 GiB", func(d *Desired, _ *Observed) { d.VMs[0].Disks[0].Bytes = 5 << 30 }},
			{70, "20 GiB after all", func(d *Desired, _ *Observed) { d.VMs[0].Disks[0].Bytes = 20 << 30 }},
		}},
		"vSphere asks a question": {six(func(r *Rollout) { r.MaxUnavailable = 2 }), []event{
			{0, "vSphere asks something about wrk-02, and a task runs on wrk-03", func(_ *Desired, o *Observed) {
				each(o, func(v *VM) { v.Busy = []string{"a question is pending: is it moved or copied?"} }, 2)
				each(o, func(v *VM) { v.Task = "task-77" }, 3)
			}},
			{60, "it is answered", vms(func(v *VM) { v.Busy = nil }, 2)},
		}},
		"targets first, the rest when they are lifted": {six(func(r *Rollout) { r.MaxUnavailable, r.Canaries, r.Bake = 2, 1, 30*time.Minute }), []event{
			{0, "only wrk-05 and wrk-06 are targets", func(d *Desired, _ *Observed) { d.Targets = []string{"wrk-05", "wrk-06"} }},
			{80, "no targets any more", func(d *Desired, _ *Observed) { d.Targets = nil }},
		}},
		"VMs vanish, and are made again around their disks": {six(func(r *Rollout) { r.MaxUnavailable = 1 }), []event{
			{70, "somebody deletes wrk-02 and wrk-03", func(_ *Desired, o *Observed) { vanish(o, 2, 3) }},
			{120, "somebody deletes wrk-05, and its disk file", func(_ *Desired, o *Observed) {
				for _, f := range o.Files {
					o.Made = append(o.Made, inDatastore(f.Path))
				}
				vanish(o, 5)
				o.Files = slices.DeleteFunc(o.Files, func(f DiskFile) bool { return f.UUID == uuidOf(5, 0) })
			}},
			{180, "the file is put back", func(d *Desired, o *Observed) {
				o.Files = append(o.Files, DiskFile{Path: DiskPath("workers", d.VMs[4], d.VMs[4].Disks[0]), UUID: uuidOf(5, 0), Bytes: 10 << 30})
			}},
		}},
		"a person pauses and resumes": {six(func(r *Rollout) { r.MaxUnavailable = 1 }), []event{
			{20, "a person pauses", func(d *Desired, o *Observed) {
				for _, r := range Halt(*d, *o).Rolls {
					for _, s := range r.Steps {
						*o = o.After(s)
					}
				}
			}},
			{100, "a person resumes", resume},
		}},
		"Secure Boot is turned on, and its key changes": {func() (Desired, Observed) {
			d := wish(3, "docker")
			for i := range d.VMs {
				d.VMs[i].Firmware = "efi"
			}
			return d, fleetOf(d, newDigest)
		}, []event{
			{10, "an image with a shim is wanted with Secure Boot", func(d *Desired, _ *Observed) { *d = locked(*d, ChainShim) }},
			{60, "an image with a key of one's own", func(d *Desired, o *Observed) {
				push("c", "")(d, o)
				*d = locked(*d, ChainKey)
			}},
			{90, "wrk-02 is deleted around its disk, as the refusal says", func(_ *Desired, o *Observed) { vanish(o, 2) }},
		}},
	}
}

// sized is the fleet with so many VMs.
func sized(d *Desired, n int) []WantVM {
	out := wish(n, "docker").VMs
	for i := range out {
		out[i].CPUs = d.VMs[0].CPUs
	}
	return out
}
