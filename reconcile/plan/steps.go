package plan

import (
	"math"
	"slices"
	"time"
)

// creation returns the steps that make a VM: its disks first, so that the record that names them is never ahead of
// the files, then the VM with the record, then the attachment, which involves no file operation.
func creation(want Desired, o Observed, w WantVM, now time.Time) ([]Step, *Blocked) {
	n, iso := Of(w.Name), want.Image.Paths[w.Place.Store]
	generation, trouble := latest(want, o, w)
	if trouble != nil {
		return nil, trouble
	}
	rec := Record{
		Image: want.Image.Digest, ImageID: want.Image.ID, Token: Token(want.Image.Digest, 1), Epoch: 1,
		Key: want.Image.Trust.Key(), Owner: want.Claimer, Expires: now.Add(want.TTL), Started: now,
		Engine: want.Image.Engine, Generation: generation,
	}
	var steps []Step
	for _, d := range w.Disks {
		path, file, trouble := fileOf(want, o, w, d, rec.Generation)
		if trouble != nil {
			return nil, trouble
		}
		r := DiskRecord{Name: d.Name, Path: path}
		if file == nil {
			steps = append(steps, CreateDisk{base: n, Place: w.Place, Disk: d, Path: path})
		} else {
			r.UUID = file.UUID
		}
		if m := mountOf(want.Image, d.Mount); m != nil {
			r.Label, r.Filesystem = m.Label, m.Filesystem
		}
		rec.Disks = append(rec.Disks, r)
	}
	steps = append(steps, CreateVM{base: n, Want: w.clone(), Fleet: want.Fleet, Record: rec, ISO: iso})
	made := VM{Name: w.Name, Power: Off, ISO: iso, CPUs: w.CPUs, MemoryMiB: w.MemoryMiB, SecureBoot: w.SecureBoot, Record: rec}
	return append(steps, rest(want, w, made, now, o.Files...)...), nil
}

// rest returns the steps that are left for an existing VM, whatever was done before: every step is left out that the
// VM shows to be done. It is the one place that knows the order. files tell how large disks are that are recorded and
// not attached yet.
func rest(want Desired, w WantVM, v VM, now time.Time, files ...DiskFile) []Step {
	n, r := Of(v.Name), v.Record.clone()
	steps := heads(want, v, &r, afresh(want, w, v, now), now)
	steps = append(steps, furnishing(want, w, v)...)
	iso := want.Image.Paths[w.Place.Store]
	if iso == "" {
		iso = v.ISO // only to release a VM whose image is gone; the gate refuses everything else
	}
	changes := changing(w, v, files)
	// A VM that is only changed or booted gets a new token too, or its gate could not tell the new boot from the last one.
	swap := v.ISO != iso || r.Image != want.Image.Digest || r.Due || len(changes) > 0 && r.Token != Token(want.Image.Digest, r.Epoch)
	if v.Power == On && (swap || len(changes) > 0) {
		steps = append(steps, stopping(want, v, &r, Up(want, w, v) != "")...)
	}
	if swap {
		r = swapped(want, r, v.ISO)
		steps = append(steps, InsertISO{base: n, ISO: iso, Record: r})
	}
	steps = append(steps, changes...)
	stopped := v.Power != On || swap || len(changes) > 0
	if stopped {
		steps = append(steps, PowerOn{n})
	}
	if stopped || Ready(want, w, v) != "" {
		steps = append(steps, gateOf(want, w, v, r))
	}
	if r.Drained {
		steps = append(steps, Restore{n})
	}
	return append(steps, Release{base: n, At: now})
}

// heads returns what every roll begins with: the wait for somebody's task, and the claim, with r the record as it will
// be then.
func heads(want Desired, v VM, r *Record, due bool, now time.Time) []Step {
	var steps []Step
	if v.Task != "" {
		steps = append(steps, AwaitTask{base: Of(v.Name), Task: v.Task})
	}
	if !live(*r, now) || r.Owner != want.Claimer {
		c := claim(want, Of(v.Name), *r, now)
		c.Due = r.Due || due
		r.Owner, r.Epoch, r.Started, r.Expires, r.Due = c.Owner, c.Epoch, c.Started, c.Expires, c.Due
		steps = append(steps, c)
	}
	return steps
}

// stopping returns how a VM that is on goes down. try is said of one that does not serve: then its drain may fail.
func stopping(want Desired, v VM, r *Record, try bool) []Step {
	var steps []Step
	if want.Rollout.Drain && !r.Drained {
		steps = append(steps, Drain{base: Of(v.Name), Next: "keep", Try: try})
		r.Drained = true
	}
	return append(steps, Shutdown{base: Of(v.Name), Grace: want.Rollout.Grace})
}

// furnishing returns the steps that give a VM what only its creation gives it: its disks, and the key of the image,
// which must be there before the ISO swap, because a VM that runs another image is not being made any more.
func furnishing(want Desired, w WantVM, v VM) []Step {
	var steps []Step
	for _, d := range v.Record.Disks {
		if attached(v, d) == nil {
			steps = append(steps, AttachDisk{base: Of(v.Name), Disk: d})
		}
	}
	if wantsKey(want, w, v) {
		steps = append(steps, InstallKey{base: Of(v.Name), Certificate: slices.Clone(want.Image.Trust.Certificate)})
	}
	return steps
}

// changing returns the steps that make a VM's hardware as wanted.
func changing(w WantVM, v VM, files []DiskFile) []Step {
	var steps []Step
	if resized(w, v) {
		steps = append(steps, Resize{base: Of(v.Name), CPUs: w.CPUs, MemoryMiB: w.MemoryMiB})
	}
	if w.SecureBoot && !v.SecureBoot {
		steps = append(steps, EnableSecureBoot{Of(v.Name)})
	}
	for _, d := range w.Disks {
		if r := recorded(v.Record, d.Name); r != nil && bytesOf(v, *r, files) < d.Bytes {
			steps = append(steps, GrowDisk{base: Of(v.Name), Disk: *r, Bytes: d.Bytes})
		}
	}
	return steps
}

// bytesOf is the size of a recorded disk. One that is neither attached nor there is about to be made as wanted.
func bytesOf(v VM, r DiskRecord, files []DiskFile) int64 {
	if a := attached(v, r); a != nil {
		return a.Bytes
	}
	if i := slices.IndexFunc(files, func(f DiskFile) bool { return f.Path == r.Path }); i >= 0 {
		return files[i].Bytes
	}
	return math.MaxInt64
}

func claim(want Desired, n base, r Record, now time.Time) Claim {
	started := r.Started
	if started.IsZero() {
		started = now
	}
	return Claim{base: n, Owner: want.Claimer, Epoch: r.Epoch + 1, Started: started, TTL: want.TTL, Expires: now.Add(want.TTL)}
}

// swapped returns the record after the ISO swap. Previous is what ran before and passed its gate, so a repeated swap to
// the same image keeps it, and so does the next one after an image that failed. The gate has not passed on another image yet, and the newest engine will have used the disks.
func swapped(want Desired, r Record, iso string) Record {
	r = r.clone()
	if r.Image != want.Image.Digest {
		if !r.Rolled.IsZero() || r.Previous == "" {
			r.Previous, r.PreviousISO, r.PreviousID, r.EngineWas = r.Image, iso, r.ImageID, r.Engine
		}
		r.Rolled = time.Time{}
	}
	r.Image, r.ImageID, r.Token = want.Image.Digest, want.Image.ID, Token(want.Image.Digest, r.Epoch)
	r.Key, r.Engine, r.Due = want.Image.Trust.Key(), newest(r.Engine, want.Image.Engine), false
	return r
}

// gateOf returns the wait for this incarnation, with r the record as it will be then.
func gateOf(want Desired, w WantVM, v VM, r Record) AwaitReady {
	a := AwaitReady{base: Of(v.Name), Token: r.Token, ImageID: r.ImageID, Timeout: want.Rollout.Timeout, Settle: want.Rollout.Settle}
	if want.Rollout.NoMounted {
		return a
	}
	for _, d := range w.Disks {
		rec := recorded(r, d.Name)
		if d.Mount == "" || rec == nil {
			continue
		}
		serial := rec.UUID
		if disk := attached(v, *rec); disk != nil {
			serial = disk.UUID
		}
		a.Mounts = append(a.Mounts, GuestMount{Path: d.Mount, Serial: SerialOf(serial)})
	}
	return a
}
