package plan

// takes returns the blue VM's disks as its successor will record them: with the files they lie in now, because a
// storage migration moves a file and tells no record.
func (p pair) takes() []DiskRecord {
	var out []DiskRecord
	for _, r := range p.blue.Record.Disks {
		if a := attached(*p.blue, r); a != nil {
			r.UUID, r.Path = a.UUID, a.Path
		}
		out = append(out, r)
	}
	return out
}

// handOver returns the steps that move the disks, one by one: the green VM's record names each before it is detached,
// and the blue one's until it was seen attached (D5).
func (p pair) handOver() []Step {
	steps := p.stop("keep")
	for _, t := range p.green.Record.Takes {
		if attached(*p.blue, t) != nil {
			steps = append(steps, DetachDisk{base: Of(p.blue.Name), Disk: t})
		}
		steps = append(steps, AttachDisk{base: Of(p.green.Name), Disk: t})
	}
	if len(p.blue.Record.Disks) > 0 {
		steps = append(steps, Disown{base: Of(p.blue.Name), Successor: p.green.ID})
	}
	return steps
}
