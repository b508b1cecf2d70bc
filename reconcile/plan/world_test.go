package plan

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// t0 is the moment at which every test plans.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	newDigest = "bbbbbbbbbbbb2222222222222222222222222222222222222222222222222222"
	oldDigest = "aaaaaaaaaaaa1111111111111111111111111111111111111111111111111111"
	newISO    = "[iso] lkv/worker/" + newDigest + ".iso"
	oldISO    = "[iso] lkv/worker/" + oldDigest + ".iso"
	me        = "lkv@here"
	other     = "lkv@there"
)

// wish is a fleet of n VMs with the given data disks (mounted at /var/lib/<name>) that should run the new image.
func wish(n int, disks ...string) Desired {
	d := Desired{
		Fleet: "workers", Claimer: me, TTL: 2 * time.Minute,
		Image: Image{Name: "worker", Digest: newDigest, ID: "sha256:new", Paths: map[string]string{"dc1": newISO},
			RAM: 512 << 20, Boot: []string{"bios", "uefi"}, Known: true},
		Rollout: Rollout{Strategy: "in-place", MaxUnavailable: 1, OnFailure: "pause",
			Grace: 2 * time.Minute, Timeout: 10 * time.Minute, Settle: 30 * time.Second},
	}
	for _, name := range disks {
		d.Image.Mounts = append(d.Image.Mounts, Mount{Path: "/var/lib/" + name, Label: name, Filesystem: "ext4", Gated: true})
	}
	for i := range n {
		w := WantVM{Name: fmt.Sprintf("wrk-%02d", i+1), Ordinal: i + 1, CPUs: 2, MemoryMiB: 2048, Firmware: "bios",
			GuestID: "other4xLinux64Guest", Place: Placement{Datacenter: "DC1", Cluster: "C1", Datastore: "ssd-1", Store: "dc1"},
			ExtraConfig: map[string]string{"guestinfo.lkv.role": "worker"}}
		for _, name := range disks {
			w.Disks = append(w.Disks, WantDisk{Name: name, Bytes: 10 << 30, Mount: "/var/lib/" + name, Thin: true})
		}
		d.VMs = append(d.VMs, w)
	}
	return d
}

var certificate = []byte("a certificate, DER")

// locked is the fleet with Secure Boot on, on an image with that chain.
func locked(d Desired, chain string) Desired {
	d.Image.Trust = Trust{Chain: chain}
	if chain == ChainKey {
		d.Image.Trust.Certificate = certificate
	}
	d.VMs = slices.Clone(d.VMs)
	for i := range d.VMs {
		d.VMs[i].Firmware, d.VMs[i].SecureBoot = "efi", true
	}
	return d
}

// standing is the VM w as a finished roll leaves it, on the old or the new image.
func standing(d Desired, w WantVM, digest string) VM {
	iso, id := newISO, "sha256:new"
	if digest == oldDigest {
		iso, id = oldISO, "sha256:old"
	}
	v := VM{Name: w.Name, ID: "id-" + w.Name, Ref: "vm-" + w.Name, Fleet: d.Fleet, Ordinal: w.Ordinal, Power: On, ISO: iso,
		CPUs: w.CPUs, MemoryMiB: w.MemoryMiB, Firmware: w.Firmware, Age: time.Hour,
		Record: Record{Image: digest, ImageID: id, Token: Token(digest, 3), Epoch: 3},
		Guest:  Guest{Tools: true, State: running, Token: Token(digest, 3), ImageID: id}}
	v.SecureBoot, v.Record.Key = w.SecureBoot, d.Image.Trust.Key()
	if v.Record.Key != "" {
		v.Keys = []string{v.Record.Key}
	}
	for i, disk := range w.Disks {
		path, uuid := DiskPath(d.Fleet, w, disk), uuidOf(w.Ordinal, i)
		v.Disks = append(v.Disks, Disk{UUID: uuid, Path: path, Bytes: disk.Bytes, Mode: DiskMode})
		v.Record.Disks = append(v.Record.Disks, DiskRecord{Name: disk.Name, UUID: uuid, Path: path, Label: disk.Name, Filesystem: "ext4"})
		v.Guest.Mounts = append(v.Guest.Mounts, GuestMount{Path: disk.Mount, Serial: SerialOf(uuid)})
	}
	return v
}

func uuidOf(ordinal, disk int) string {
	return fmt.Sprintf("6000C29%d-%04d-AAAA-BBBB-CCCCDDDDEEEE", disk, ordinal)
}

// with adds VMs and the files of their disks to a world.
func (o Observed) with(vms ...VM) Observed {
	o = o.Clone()
	for _, v := range vms {
		o.VMs = append(o.VMs, v)
		for _, d := range v.Disks {
			o.Files = append(o.Files, DiskFile{Path: d.Path, UUID: d.UUID, Bytes: d.Bytes})
		}
	}
	return o
}

// fleetOf is the world of a wish in which every VM stands on that image.
func fleetOf(d Desired, digest string) Observed {
	var o Observed
	for _, w := range d.VMs {
		o = o.with(standing(d, w, digest))
	}
	return o
}

// off is the VM powered off.
func off(v VM) VM {
	v.Power, v.Guest, v.Age = Off, Guest{}, 0
	return v
}

// genWish draws a fleet.
func genWish(t *rapid.T) Desired {
	names := []string{"docker", "logs"}[:rapid.IntRange(0, 2).Draw(t, "disks")]
	d := wish(rapid.IntRange(1, 6).Draw(t, "size"), names...)
	d.Rollout.MaxUnavailable = rapid.IntRange(1, 3).Draw(t, "max_unavailable")
	d.Rollout.NoBrake = true // the brake has its own laws
	if chain := rapid.SampledFrom([]string{"", "", ChainKey, ChainShim}).Draw(t, "Secure Boot"); chain != "" {
		d = locked(d, chain)
	}
	return d
}

// genWorld draws a world in which no run is under way: every VM is missing (with or without its files), old, new,
// off, of another size, has Secure Boot off, or was made with the CD-ROM of another store.
func genWorld(t *rapid.T, d Desired) Observed {
	var o Observed
	for _, w := range d.VMs {
		v := standing(d, w, rapid.SampledFrom([]string{oldDigest, newDigest}).Draw(t, w.Name+" image"))
		switch rapid.SampledFrom([]string{"on", "on", "on", "off", "small", "unlocked", "ejected", "missing", "file left", "task"}).Draw(t, w.Name) {
		case "task":
			v.Task = "task-7"
			o = o.with(v)
		case "off":
			o = o.with(off(v))
		case "small":
			v.CPUs, v.MemoryMiB = 1, 1024
			o = o.with(v)
		case "unlocked":
			v.SecureBoot = false
			o = o.with(v)
		case "ejected":
			v.ISO = ""
			o = o.with(v)
		case "missing":
		case "file left":
			for i, disk := range w.Disks {
				o.Files = append(o.Files, DiskFile{Path: DiskPath(d.Fleet, w, disk), UUID: uuidOf(w.Ordinal, i), Bytes: disk.Bytes})
			}
		default:
			o = o.with(v)
		}
	}
	return o
}

// genHalfway draws a world in which a run died: some waves done, of one wave a prefix of every roll.
func genHalfway(t *rapid.T, d Desired, o Observed) (Observed, map[string][]Step) {
	p := Compute(d, o, t0)
	left := map[string][]Step{}
	if len(p.Waves) == 0 {
		return o, left
	}
	dead := rapid.IntRange(0, len(p.Waves)-1).Draw(t, "dies in wave")
	for i, w := range p.Waves {
		for _, r := range w.Rolls {
			n := len(r.Steps)
			if i > dead {
				n = 0
			} else if i == dead {
				n = rapid.IntRange(0, n).Draw(t, r.VM+" gets to")
			}
			for _, s := range r.Steps[:n] {
				o = o.After(s)
			}
			left[r.VM] = append(left[r.VM], r.Steps[n:]...)
		}
	}
	return o, left
}

// flat is a plan's steps in order.
func flat(p Plan) []Step {
	var out []Step
	for _, w := range p.Waves {
		for _, r := range w.Rolls {
			out = append(out, r.Steps...)
		}
	}
	return out
}

// broken returns the first data-disk invariant that the world does not keep, or "".
func broken(before, o Observed) string {
	seen := map[string]string{}
	for _, v := range o.VMs {
		for _, d := range v.Disks {
			if user := seen[d.Path]; user != "" {
				return fmt.Sprintf("D3: %s is attached to %s and %s", d.Path, user, v.Name)
			}
			seen[d.Path] = v.Name
			if !slices.ContainsFunc(v.Record.Disks, func(r DiskRecord) bool { return r.Path == d.Path }) {
				return fmt.Sprintf("D5: %s is not in the record of %s", d.Path, v.Name)
			}
		}
		if v.Power == On && len(v.Disks) != len(v.Record.Disks) {
			return fmt.Sprintf("D6: %s runs with %d of %d disks", v.Name, len(v.Disks), len(v.Record.Disks))
		}
	}
	for _, v := range before.VMs {
		now := o.find(v.Name)
		if now == nil || !slices.Equal(now.Disks, v.Disks) && len(v.Disks) > 0 {
			return fmt.Sprintf("D4: the disks of %s are not what they were", v.Name)
		}
	}
	for _, f := range before.Files {
		if !slices.Contains(o.Files, f) {
			return "D1: file gone or changed: " + f.Path
		}
	}
	return ""
}
