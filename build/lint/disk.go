package lint

import (
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// disk is something that puts a data disk on a path before services start.
type disk struct {
	e        *entry // nil for a persist block
	index    int    // in the onboot section
	mount    string
	label    string
	selector bool // label, UUID or device says which disk
	gated    bool // services wait for it
}

// findDisks lists what the persist blocks and the onboot section mount.
func (p *pass) findDisks() []disk {
	var out []disk
	for _, b := range p.Persist {
		out = append(out, disk{mount: path.Clean(b.Mount), label: b.Label, selector: true, gated: true})
	}
	gates := map[string]bool{}
	for i, e := range p.section("onboot") {
		required := str(e.d.fields(e.fields["annotations"])["lkv.required"]) == "true"
		c := parseCommand(e)
		switch {
		case e.image.is("linuxkit/mount"):
			d := disk{e: e, index: i, label: c.value("label"), gated: required}
			d.selector = d.label != "" || c.value("uuid") != "" || c.value("device") != "" || len(c.rest) > 1
			if len(c.rest) > 0 {
				d.mount = path.Clean(str(c.rest[len(c.rest)-1]))
			}
			out = append(out, d)
		case e.image.is("lkv/persist") && c.verb == "gate":
			gates[path.Clean(c.value("mount"))] = required
		case e.image.is("lkv/persist") && c.value("mount") != "":
			out = append(out, disk{e: e, index: i, mount: path.Clean(c.value("mount")), label: c.value("label"), selector: true, gated: required})
		}
	}
	for i, d := range out {
		out[i].gated = d.gated || gates[d.mount]
	}
	return out
}

// holds tells whether a path lies on a data disk, or may: an onboot step that we do not know and whose mounts the
// machine sees may have mounted anything.
func (p *pass) holds(name string) bool {
	if slices.ContainsFunc(p.disks, func(d disk) bool { return d.mount != "" && below(name, d.mount) }) {
		return true
	}
	for _, e := range p.section("onboot") {
		if e.image.is("linuxkit/format", "linuxkit/mount", "lkv/persist") {
			continue
		}
		for _, b := range e.binds() {
			if below(name, b.from) && b.has("rshared", "shared") {
				return true
			}
		}
	}
	return false
}

// command is the command line of format, mount or persist in the manner of Go's flag package.
type command struct {
	verb  string // first word of lkv-guest's
	flags []flag
	rest  []*yaml.Node
}

type flag struct {
	name, value string
	index       int // in the list
	n           *yaml.Node
}

// switches are flags that take no value.
var switches = []string{"force", "verbose"}

func parseCommand(e *entry) command {
	var c command
	list := e.list("command")
	i := 1
	if e.image.is("lkv/persist") && len(list) > 1 {
		c.verb = str(list[1])
		i = 2
	}
	for ; i < len(list); i++ {
		word := str(list[i])
		if len(word) < 2 || word[0] != '-' || word == "--" {
			if word == "--" {
				i++
			}
			c.rest = list[min(i, len(list)):]
			return c
		}
		f := flag{index: i, n: list[i]}
		var attached bool
		f.name, f.value, attached = strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !attached && !slices.Contains(switches, f.name) && i+1 < len(list) {
			i++
			f.value = str(list[i])
		}
		c.flags = append(c.flags, f)
	}
	return c
}

func (c command) flag(name string) (flag, bool) {
	for i := len(c.flags) - 1; i >= 0; i-- { // the last one counts
		if c.flags[i].name == name {
			return c.flags[i], true
		}
	}
	return flag{}, false
}

func (c command) value(name string) string {
	f, _ := c.flag(name)
	return f.value
}

// formats returns the onboot entries that run LinuxKit's format.
func (p *pass) formats() []*entry {
	return slices.DeleteFunc(p.section("onboot"), func(e *entry) bool { return !e.image.is("linuxkit/format") })
}

// mounts returns the mounts by LinuxKit's mount.
func (p *pass) mounts() []disk {
	return slices.DeleteFunc(slices.Clone(p.disks), func(d disk) bool { return d.e == nil || !d.e.image.is("linuxkit/mount") })
}
