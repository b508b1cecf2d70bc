package iso

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxDepth bounds the levels of the tree, the root included. ECMA-119 allows eight; those who read Rock Ridge trees
// have no limit, so deeper ones are simply written, without the relocated directories that mkisofs makes of them.
const maxDepth = 64

// maxDirs is how many directories a path table can number.
const maxDirs = 1<<16 - 1

// maxLink keeps all Rock Ridge entries of a symbolic link within one sector, in bytes.
const maxLink = 1024

// node is one directory or file of the ISO 9660 tree.
type node struct {
	name     string // Rock Ridge name; empty for the root
	ident    string // ISO 9660 identifier, for example "ISOLINUX.BIN;1"
	dir      bool
	parent   *node // the root is its own parent
	children []*node
	number   int       // of a directory: position in the path table, from 1
	lba      uint32    // first sector
	size     int64     // bytes
	content  io.Reader // what New writes; nil for shared extents
	sum      sum       // of the content, when it was written
	link     string    // target of a symbolic link
}

func newRoot() *node {
	r := &node{dir: true, ident: "\x00"}
	r.parent = r
	return r
}

// add makes the file and its directories. It refuses paths that are not clean and names that already exist.
func (n *node) add(path string, content io.Reader, size int64) (*node, error) {
	parts := strings.Split(path, "/")
	if len(parts) > maxDepth {
		return nil, fmt.Errorf("add %q: more than %d directory levels", path, maxDepth)
	}
	if size < 0 || content == nil && size > 0 {
		return nil, fmt.Errorf("add %q: size %d without content", path, size)
	}
	for i, part := range parts {
		if err := checkName(part); err != nil {
			return nil, fmt.Errorf("add %q: %w", path, err)
		}
		last := i == len(parts)-1
		child := n.child(part)
		if child != nil && (last || !child.dir) {
			return nil, fmt.Errorf("add %q: %q is already a file or directory", path, strings.Join(parts[:i+1], "/"))
		}
		if child == nil {
			child = &node{name: part, dir: !last, parent: n}
			n.children = append(n.children, child)
		}
		n = child
	}
	n.content, n.size = content, size
	return n, nil
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is not a file name", name)
	case len(name) > 255:
		return fmt.Errorf("a name of %d bytes is longer than 255", len(name))
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%q contains a NUL", name)
	}
	return nil
}

// checkLink returns the target of a symbolic link that Rock Ridge can express.
func checkLink(x Extra) (string, error) {
	switch {
	case x.Content != nil || len(x.Data) > 0:
		return "", fmt.Errorf("add %q: a symbolic link has no content", x.Path)
	case len(x.Link) > maxLink || strings.ContainsRune(x.Link, 0):
		return "", fmt.Errorf("add %q: a link's target has up to %d bytes and no NUL", x.Path, maxLink)
	case path.Clean(x.Link) != x.Link:
		return "", fmt.Errorf("add %q: link target %q is not clean: write %q", x.Path, x.Link, path.Clean(x.Link))
	}
	for part := range strings.SplitSeq(x.Link, "/") {
		if len(part) > 255 {
			return "", fmt.Errorf("add %q: a name of %d bytes is longer than 255", x.Path, len(part))
		}
	}
	return x.Link, nil
}

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// name gives every node its identifier and sorts each directory by it, as ECMA-119 asks.
func (n *node) nameChildren() error {
	slices.SortFunc(n.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	taken := idents{}
	for _, c := range n.children {
		id, err := taken.unique(c.name, c.dir)
		if err != nil {
			return err
		}
		c.ident = id
	}
	slices.SortFunc(n.children, func(a, b *node) int { return cmp.Compare(sortKey(a.ident), sortKey(b.ident)) })
	for _, c := range n.children {
		if err := c.nameChildren(); err != nil {
			return err
		}
	}
	return nil
}

// sortKey pads stem and extension as ECMA-119 9.3 compares them.
func sortKey(ident string) string {
	stem, ext, _ := strings.Cut(strings.TrimSuffix(ident, ";1"), ".")
	return fmt.Sprintf("%-8s%-3s", stem, ext)
}

// idents counts the identifiers of one directory by their sort key, and the clashes by their common part.
type idents map[string]int

// unique makes a level 1 identifier (8.3, upper case); a clash, also of a file with a directory, replaces the
// stem's end by a number.
func (t idents) unique(name string, dir bool) (string, error) {
	stem, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && !dir {
		stem, ext = name[:i], name[i+1:]
	}
	stem, ext = dChars(stem, 8), dChars(ext, 3)
	if !dir {
		ext = "." + ext + ";1"
	}
	short := stem[:min(len(stem), 4)]
	common := short + "#" + ext // no identifier contains a "#"
	for id := stem + ext; t[common] < 10000; t[common]++ {
		if t[sortKey(id)] == 0 {
			t[sortKey(id)]++
			return id, nil
		}
		id = fmt.Sprintf("%s%04d%s", short, t[common], ext)
	}
	return "", fmt.Errorf("name %q: more than 10000 names alike in one directory", name)
}

// dChars maps a name to at most n characters of A-Z, 0-9 and _.
func dChars(s string, n int) string {
	b := []byte(strings.ToUpper(s))
	b = b[:min(len(b), n)]
	for i, c := range b {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			b[i] = '_'
		}
	}
	return string(b)
}

// dirs lists the directories in path table order: by level, then parent, then identifier. It numbers them.
func (n *node) dirs() []*node {
	list := []*node{n}
	for i := 0; i < len(list); i++ {
		list[i].number = i + 1
		for _, c := range list[i].children {
			if c.dir {
				list = append(list, c)
			}
		}
	}
	return list
}

// path is the node's path from the root.
func (n *node) path() string {
	if n.parent.parent == n.parent {
		return n.name
	}
	return n.parent.path() + "/" + n.name
}

// files lists the files whose content New writes, in path table order of their directories.
func (n *node) files() []*node {
	var list []*node
	for _, d := range n.dirs() {
		for _, c := range d.children {
			if !c.dir && c.content != nil {
				list = append(list, c)
			}
		}
	}
	return list
}
