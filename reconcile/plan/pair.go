package plan

import (
	"fmt"
	"slices"
)

// bornAs is the green VM as its creation leaves it.
func (p pair) bornAs(generation int, disks, takes []DiskRecord) VM {
	im := p.want.Image
	engine := im.Engine
	if !p.fresh() {
		engine = newest(p.blue.Record.Engine, engine)
	}
	rec := Record{
		Image: im.Digest, ImageID: im.ID, Token: Token(im.Digest, 1), Epoch: 1, Key: im.Trust.Key(),
		Owner: p.want.Claimer, Expires: p.now.Add(p.want.TTL), Started: p.now,
		Disks: disks, Takes: takes, Replaces: p.blue.ID, Generation: generation,
		Engine: engine, Drained: (p.want.Rollout.Drain || p.blue.Record.Drained) && !p.fresh(),
	}
	return VM{Name: GreenName(p.w.Name), Power: Off, ISO: im.Paths[p.w.Place.Store], CPUs: p.w.CPUs, MemoryMiB: p.w.MemoryMiB,
		Firmware: p.w.Firmware, SecureBoot: p.w.SecureBoot, Record: rec}
}

// greenWant is the wanted VM as the green one. With the disks it takes over the node and so its host name; with blank
// ones it is another node, and two nodes must not have one name.
func (p pair) greenWant(generation int) WantVM {
	w := p.w.clone()
	w.Name = GreenName(p.w.Name)
	if w.ExtraConfig == nil {
		w.ExtraConfig = map[string]string{}
	}
	if p.fresh() {
		w.ExtraConfig[hostnameKey] = fmt.Sprintf("%s-g%d", p.w.Name, generation)
	} else if w.ExtraConfig[hostnameKey] == "" {
		w.ExtraConfig[hostnameKey] = p.w.Name
	}
	return w
}

// complete is the green VM with every disk that it takes over attached, as it will be when it boots. It is being made
// until it has its place, also when a person has resumed the fleet in between.
func (p pair) complete() *VM {
	v := *p.green
	if v.Record.Started.IsZero() {
		v.Record.Started = p.now
	}
	v.Record, v.Disks = v.Record.clone(), slices.Clone(v.Disks)
	for _, t := range v.Record.Takes {
		d := Disk{UUID: t.UUID, Path: t.Path, Mode: DiskMode}
		if f := p.have.file(t.Path); f != nil { // it is there, or the hand-over is refused
			d.Bytes = f.Bytes
		}
		v.Disks = append(v.Disks, d)
	}
	v.Record.Disks, v.Record.Takes = append(v.Record.Disks, v.Record.Takes...), nil
	return &v
}

// disksOf returns the disks that the green VM is born with, or takes over, and the steps that make the former.
func (p pair) disksOf(generation int) (disks, takes []DiskRecord, made []Step) {
	if !p.fresh() {
		return nil, p.takes(), nil
	}
	for _, d := range p.w.Disks {
		r := DiskRecord{Name: d.Name, Path: GenerationPath(p.want.Fleet, p.w, d, generation)}
		if found := filesNamed(p.have, r.Path); len(found) > 0 {
			r.Path, r.UUID = found[0].Path, found[0].UUID
		} else {
			made = append(made, CreateDisk{base: Of(GreenName(p.w.Name)), Place: p.w.Place, Disk: d, Path: r.Path})
		}
		if m := mountOf(p.want.Image, d.Mount); m != nil {
			r.Label, r.Filesystem = m.Label, m.Filesystem
		}
		disks = append(disks, r)
	}
	return disks, nil, made
}
