package plan

import "slices"

// generation returns the next generation of which no disk was ever used: no VM has one, attached or in its record, and
// none was made and is gone. A file that nobody has is one that a run made before it died.
func (p pair) generation() int {
	g := p.blue.Record.Generation + 1
	for !p.unused(g) {
		g++
	}
	return g
}

func (p pair) unused(generation int) bool {
	for _, d := range p.w.Disks {
		path := GenerationPath(p.want.Fleet, p.w, d, generation)
		found := filesNamed(p.have, path)
		switch {
		case userOf(p.have, path) != "" || len(found) > 1:
			return false
		case len(found) == 0 && slices.Contains(p.have.Made, inDatastore(path)):
			return false
		case len(found) == 1 && (found[0].Bytes != d.Bytes || holderOf(p.have, found[0].UUID) != ""):
			return false
		}
	}
	return true
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
