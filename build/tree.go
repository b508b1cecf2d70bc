package build

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// File types and the permission mask of st_mode, as cpio stores them.
const (
	typeMask = 0o170000
	typeFifo = 0o010000
	typeChar = 0o020000
	typeDir  = 0o040000
	typeBlk  = 0o060000
	typeReg  = 0o100000
	typeLink = 0o120000
	permMask = 0o007777
)

// maxHops is how many symbolic links a path may go through, as in Linux.
const maxHops = 40

// inode is what hard links share.
type inode struct {
	mode         uint32 // st_mode
	uid, gid     uint32
	mtime        int64 // seconds since 1970, not yet clamped
	size         int64 // content bytes of a regular file
	off          int64 // where the content begins in the spill file, when data is nil
	data         []byte
	target       string // of a symbolic link
	major, minor uint32 // of a device node
	xattrs       map[string]string
	made         bool // a parent nobody described: its mode is our guess
}

func (i *inode) is(t uint32) bool { return i.mode&typeMask == t }

// dirInode is the directory that stands in for a parent no layer describes.
func dirInode(mtime int64) *inode { return &inode{mode: typeDir | 0o755, mtime: mtime, made: true} }

// node is one name in a tree.
type node struct {
	ino      *inode
	parent   *node
	children map[string]*node
	layer    int // the layer that wrote it last
	path     int // bytes of its path
}

// tree is one image's file system while its layers are laid on top of one another.
type tree struct {
	root  *node
	mtime int64 // of directories that have to be made
	cost  cost
}

func newTree(mtime int64) *tree {
	return &tree{root: &node{ino: dirInode(mtime), children: map[string]*node{}}, mtime: mtime, cost: cost{owners: map[uint32]bool{}}}
}

// walk finds a directory, going through symbolic links as the kernel would inside the image. It makes what is
// missing when asked to and returns nil otherwise.
func (t *tree) walk(dir string, create bool, layer int) (*node, error) {
	todo, cur, hops := strings.Split(dir, "/"), t.root, 0
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		t.cost.steps++
		switch c {
		case "", ".":
			continue
		case "..":
			if cur.parent != nil {
				cur = cur.parent
			}
			continue
		}
		n := cur.children[c]
		if n != nil && n.ino.is(typeLink) {
			if hops++; hops > maxHops {
				return nil, fmt.Errorf("too many symbolic links in %s", quoted(dir))
			}
			if path.IsAbs(n.ino.target) {
				cur = t.root
			}
			todo = append(strings.Split(n.ino.target, "/"), todo...)
			continue
		}
		if n == nil || !n.ino.is(typeDir) {
			if !create {
				return nil, nil
			}
			var err error
			t.cost.entries++
			if n, err = t.put(cur, c, dirInode(t.mtime), layer); err != nil {
				return nil, err
			}
		}
		cur = n
	}
	return cur, nil
}

// find returns the node of a path without following a link at its end, nil when there is none.
func (t *tree) find(name string) (*node, error) {
	dir, base := path.Split(name)
	d, err := t.walk(dir, false, 0)
	if err != nil || d == nil {
		return nil, err
	}
	return d.children[base], nil
}

// put gives a directory an entry. A directory over a directory keeps what is in it; anything else replaces.
func (t *tree) put(d *node, base string, ino *inode, layer int) (*node, error) {
	n := &node{ino: ino, parent: d, layer: layer, path: d.path + 1 + len(base)}
	if n.path > maxPath || len(base) > maxName { // through links a path gets longer than a layer names it
		return nil, fmt.Errorf("its place in the image has a path of %d bytes, a name of %d: Linux takes at most %d and %d", n.path, len(base), maxPath, maxName)
	}
	if d.parent == nil && base == trailer {
		return nil, fmt.Errorf("the name %s ends a cpio archive", trailer)
	}
	t.cost.text += n.path + len(ino.target)
	for k, v := range ino.xattrs {
		t.cost.text += len(k) + len(v)
	}
	if err := t.cost.check(); err != nil {
		return nil, err
	}
	if old := d.children[base]; old != nil && old.ino.is(typeDir) && ino.is(typeDir) {
		old.ino, old.layer = ino, layer
		return old, nil
	}
	if ino.is(typeDir) {
		n.children = map[string]*node{}
	}
	d.children[base] = n
	return n, nil
}

// hide removes what lower layers put at and below a name; what this layer wrote there stays.
func (t *tree) hide(d *node, base string, layer int) {
	n := d.children[base]
	if n == nil {
		return
	}
	t.cost.steps++
	t.hideBelow(n, layer)
	if n.layer < layer && len(n.children) == 0 {
		delete(d.children, base)
	}
}

func (t *tree) hideBelow(d *node, layer int) {
	for _, base := range slices.Collect(maps.Keys(d.children)) {
		t.hide(d, base, layer)
	}
}

// entry is one name of a segment, relative to the root of the initrd.
type entry struct {
	name string
	ino  *inode
}

// entries lists the tree below prefix in the order of names, directories before what is in them. With a prefix
// the prefix itself is the first entry, carrying the attributes of the image's root directory.
func (t *tree) entries(prefix string) []entry {
	var out []entry
	if prefix != "" {
		out = append(out, entry{prefix, t.root.ino})
	}
	return t.root.list(prefix, out)
}

func (n *node) list(dir string, out []entry) []entry {
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		c, name := n.children[base], path.Join(dir, base)
		out = append(out, entry{name, c.ino})
		out = c.list(name, out)
	}
	return out
}

// parents returns the directories above a path, outermost first.
func parents(name string) []string {
	var out []string
	for i, c := range name {
		if c == '/' {
			out = append(out, name[:i])
		}
	}
	return out
}
