package build

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// view is what a segment leaves in the root file system, as far as later segments that share it must know: the
// kernel's unpacker replaces and follows names in ways no tar layer means.
type view struct {
	Dirs  []text    `json:"dirs"`
	Files []text    `json:"files"` // everything that is neither directory nor symbolic link
	Links []symlink `json:"links"` // by name
	Hard  []text    `json:"hard"`  // files with several names
}

type symlink struct {
	Name   text `json:"n"`
	Target text `json:"t"`
}

// text is a name or link target as it stands in JSON, which has no place for the bytes Linux allows in them that are
// no UTF-8: it would replace them, and two names could become one. It is not for the keys of maps, which encoding/json
// takes as they are.
type text string

// escaped begins the JSON of what had to be encoded; no name has a zero byte.
const escaped = "\x00"

// MarshalText keeps UTF-8 as it is and encodes everything else. It never fails.
func (t text) MarshalText() ([]byte, error) {
	if utf8.ValidString(string(t)) && !strings.HasPrefix(string(t), escaped) {
		return []byte(t), nil
	}
	return []byte(escaped + hex.EncodeToString([]byte(t))), nil
}

// UnmarshalText reads what MarshalText wrote.
func (t *text) UnmarshalText(b []byte) error {
	*t = text(b)
	if h, ok := bytes.CutPrefix(b, []byte(escaped)); ok {
		raw, err := hex.DecodeString(string(h))
		*t = text(raw)
		return err
	}
	return nil
}

func viewOf(list []entry) view {
	var v view
	links := map[text]text{}
	names := map[*inode]int{}
	for _, e := range list {
		names[e.ino]++
	}
	for _, e := range list {
		name := text(e.name)
		switch {
		case e.ino.is(typeDir):
			v.Dirs = append(v.Dirs, name)
		case e.ino.is(typeLink):
			links[name] = text(e.ino.target)
		default:
			delete(links, name)
			v.Files = append(v.Files, name)
			if names[e.ino] > 1 {
				v.Hard = append(v.Hard, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		v.Links = append(v.Links, symlink{name, links[name]})
	}
	return v
}

// root is the shared root file system after the segments so far.
type root struct {
	dirs  map[string]bool
	links map[string]string
	hard  map[string]bool
}

func newRoot() *root {
	return &root{dirs: map[string]bool{}, links: map[string]string{}, hard: map[string]bool{}}
}

// key identifies what of the root changes how a later component is written.
func (r *root) key() string {
	var b strings.Builder
	for _, l := range slices.Sorted(maps.Keys(r.links)) {
		fmt.Fprintf(&b, "%q>%q\n", l, r.links[l])
	}
	for _, h := range slices.Sorted(maps.Keys(r.hard)) {
		fmt.Fprintf(&b, "%q\n", h)
	}
	for _, d := range slices.Sorted(maps.Keys(r.dirs)) {
		fmt.Fprintf(&b, "%q/\n", d)
	}
	return keyOf(b.String())
}

// add accounts for a finished segment. It refuses a file or link where an earlier segment has a directory: the
// kernel would leave it out without a word.
func (r *root) add(who string, v view) error {
	names := slices.Clone(v.Files)
	for _, l := range v.Links {
		names = append(names, l.Name)
	}
	for _, f := range names {
		if r.dirs[string(f)] {
			return fmt.Errorf("%s: %s is a directory in an earlier component: take one of the two out", who, quoted("/"+string(f)))
		}
	}
	for _, d := range v.Dirs {
		r.dirs[string(d)] = true
		delete(r.links, string(d))
	}
	for _, f := range v.Files {
		delete(r.links, string(f))
		delete(r.hard, string(f))
	}
	for _, l := range v.Links {
		r.links[string(l.Name)] = string(l.Target)
		delete(r.hard, string(l.Name))
	}
	for _, h := range v.Hard {
		r.hard[string(h)] = true
	}
	return nil
}

// place follows the symbolic links of earlier components above and, for a directory, at name: an image with
// /lib/modules lands in /usr/lib/modules when an earlier one made /lib a link.
func (r *root) place(name string, dir bool) (string, error) {
	todo, cur, hops := strings.Split(name, "/"), "", 0
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		switch c {
		case "", ".":
			continue
		case "..":
			cur = strings.TrimPrefix(path.Dir("/"+cur), "/")
			continue
		}
		next := path.Join(cur, c)
		target, linked := r.links[next]
		if !linked || (len(todo) == 0 && !dir) {
			cur = next
			continue
		}
		if hops++; hops > maxHops {
			return "", fmt.Errorf("too many symbolic links in %s", quoted("/"+name))
		}
		if path.IsAbs(target) {
			cur = ""
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return cur, nil
}

// fit rewrites a component's entries so that they mean the same in the shared root.
func (r *root) fit(list []entry) ([]entry, error) {
	at := map[string]int{}
	var out []entry
	for _, e := range list {
		name, err := r.place(e.name, e.ino.is(typeDir))
		if err != nil {
			return nil, err
		}
		if name == "" {
			continue
		}
		if i, ok := at[name]; ok {
			out[i].ino = e.ino
			continue
		}
		at[name] = len(out)
		out = append(out, entry{name, e.ino})
	}
	slices.SortStableFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return r.unlink(out), nil
}

// unlink puts a symbolic link before a file that replaces one of several names of an older file: the kernel
// would write through the shared inode, but it removes a name whose type changes.
func (r *root) unlink(list []entry) []entry {
	var out []entry
	for _, e := range list {
		if r.hard[e.name] && e.ino.is(typeReg) {
			out = append(out, entry{e.name, &inode{mode: typeLink | 0o777, target: "replaced"}})
		}
		out = append(out, e)
	}
	return out
}

// missing drops the directories that are there already and were only made up here, so that nobody's mode is
// changed by a guess.
func (r *root) missing(list []entry) []entry {
	return slices.DeleteFunc(list, func(e entry) bool { return e.ino.made && r.dirs[e.name] })
}
