package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"gopkg.in/yaml.v3"
)

// pass is one image as its files describe it together.
type pass struct {
	Context
	docs    []*doc
	kernel  []at // every kernel mapping
	cmdline at   // the last one that is not empty, which is the one that counts
	init    []at
	files   []file
	entries []*entry // in the order in which LinuxKit numbers them: onboot, onshutdown, services
	disks   []disk

	rule  Rule
	found []Finding
}

// at is a node and the file it stands in.
type at struct {
	d *doc
	n *yaml.Node
}

// file is an entry of "files".
type file struct {
	at
	path   string // absolute and clean
	fields map[string]*yaml.Node
}

// entry is one container.
type entry struct {
	at
	section string // "onboot", "onshutdown" or "services"
	name    string
	image   reference
	fields  map[string]*yaml.Node
}

// reference is an image reference taken apart.
type reference struct {
	at
	text  string
	owner string // "linuxkit" of docker.io/linuxkit/format:x; "library" of docker:dind
	what  string // "format"
	tag   string // "latest" when none is written
	fixed bool   // by digest
}

func newPass(files []Source, ctx Context) *pass {
	p := &pass{Context: ctx}
	var sections [3][]*entry
	for _, s := range files {
		d := parse(s)
		if d == nil {
			continue
		}
		p.docs = append(p.docs, d)
		top := d.fields(d.root)
		if k := top["kernel"]; k != nil {
			p.kernel = append(p.kernel, at{d, k})
			if c := d.fields(k)["cmdline"]; str(c) != "" {
				p.cmdline = at{d, c}
			}
		}
		for _, n := range d.items(top["init"]) {
			p.init = append(p.init, at{d, n})
		}
		for i, section := range []string{"onboot", "onshutdown", "services"} {
			for _, n := range d.items(top[section]) {
				sections[i] = append(sections[i], newEntry(d, n, section))
			}
		}
		for _, n := range d.items(top["files"]) {
			f := file{at: at{d, n}, fields: d.fields(n)}
			f.path = path.Clean("/" + str(f.fields["path"]))
			if pn := f.fields["path"]; pn != nil {
				f.n = pn
			}
			p.files = append(p.files, f)
		}
	}
	p.entries = slices.Concat(sections[0], sections[1], sections[2])
	p.disks = p.findDisks()
	return p
}

func newEntry(d *doc, n *yaml.Node, section string) *entry {
	e := &entry{at: at{d, n}, section: section, fields: d.fields(n)}
	e.name = str(e.fields["name"])
	e.image = refer(at{d, e.fields["image"]})
	return e
}

func refer(a at) reference {
	r := reference{at: a, text: str(a.n)}
	ref, err := name.ParseReference(r.text)
	if err != nil {
		return r
	}
	r.owner, r.what = path.Split(ref.Context().RepositoryStr())
	r.owner = path.Base(r.owner)
	_, r.fixed = ref.(name.Digest)
	if t, ok := ref.(name.Tag); ok {
		r.tag = t.TagStr()
	}
	return r
}

// is tells whether it is one of the images named as owner/what.
func (r reference) is(names ...string) bool { return slices.Contains(names, r.owner+"/"+r.what) }

// list returns the strings of a list field.
func (e *entry) list(field string) []*yaml.Node { return e.d.items(e.fields[field]) }

// words returns the texts of a list field.
func (e *entry) words(field string) []string {
	var out []string
	for _, n := range e.list(field) {
		out = append(out, str(n))
	}
	return out
}

// place returns the best node to point at: the command, else the image.
func (e *entry) place() *yaml.Node {
	for _, f := range []string{"command", "image", "name"} {
		if n := e.fields[f]; n != nil {
			return n
		}
	}
	return e.n
}

// bind is one bind mount of a container.
type bind struct {
	n        *yaml.Node
	from, to string
	options  []string
}

// binds returns what a container binds, from binds, binds.add and mounts.
func (e *entry) binds() []bind {
	var out []bind
	for _, n := range append(e.list("binds"), e.list("binds.add")...) {
		from, rest, ok := strings.Cut(str(n), ":")
		if !ok {
			continue
		}
		to, options, _ := strings.Cut(rest, ":")
		out = append(out, bind{n, path.Clean(from), path.Clean(to), strings.Split(options, ",")})
	}
	for _, n := range e.list("mounts") {
		f := e.d.fields(n)
		var options []string
		for _, o := range e.d.items(f["options"]) {
			options = append(options, str(o))
		}
		if from := str(f["source"]); path.IsAbs(from) {
			out = append(out, bind{n, path.Clean(from), path.Clean(str(f["destination"])), options})
		}
	}
	return out
}

func (b bind) has(options ...string) bool {
	return slices.ContainsFunc(options, func(o string) bool { return slices.Contains(b.options, o) })
}

// section returns the containers of one section.
func (p *pass) section(name string) []*entry {
	var out []*entry
	for _, e := range p.entries {
		if e.section == name {
			out = append(out, e)
		}
	}
	return out
}

// boots tells which init images there are by name, and whether all of them are known.
func (p *pass) boots() (names []string, known bool) {
	known = true
	for _, a := range p.init {
		r := refer(a)
		names = append(names, r.owner+"/"+r.what)
		known = known && (r.owner == "lkv" || r.owner == "linuxkit")
	}
	return names, known
}

// below tells whether a path is a directory or lies in it.
func below(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
}
