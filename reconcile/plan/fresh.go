package plan

import "slices"

// generation returns the next generation of blank data disks: above every one that was ever used, whether its file is
// still there or not. A file that nobody has and no marker tells of is one that a run made before it died, and is as
// blank as it was then; one that is not as wanted is left alone.
func (p pair) generation() int {
	g := p.blue.Record.Generation
	for n, e := range evidenceOf(p.want, p.have, p.w) {
		if e.used {
			g = max(g, n)
		}
	}
	for g++; !p.blank(g); {
		g++
	}
	return g
}

// blank tells whether every file there is of a generation that was never used can become a disk of the green VM.
func (p pair) blank(generation int) bool {
	return !slices.ContainsFunc(p.w.Disks, func(d WantDisk) bool {
		found := filesNamed(p.have, GenerationPath(p.want.Fleet, p.w, d, generation))
		return len(found) > 1 || len(found) == 1 && (found[0].Bytes != d.Bytes || holderOf(p.have, found[0].UUID) != "")
	})
}

// filesNamed returns the data disk files of that name on any datastore.
func filesNamed(o Observed, path string) []DiskFile {
	var out []DiskFile
	for _, f := range o.Files {
		if inDatastore(f.Path) == inDatastore(path) {
			out = append(out, f)
		}
	}
	return out
}
