package squashfs

import (
	"errors"
	"fmt"
)

// maxEntries is how many names a Reader walks through. A hundred times a big root filesystem, it keeps a small
// image whose tables unpack to a thousand times its size from taking the machine.
const maxEntries = 1 << 22

// walker is one walk through an image.
type walker struct {
	q     *Reader
	fn    func(*Node) error
	names int
	dirs  map[uint32]bool   // directories been in
	first map[uint32]string // of inodes with several names, the first one
}

// Walk calls fn for every name, a directory before what is in it, names in the order of their bytes. An error of
// fn ends it.
func (q *Reader) Walk(fn func(*Node) error) error {
	w := &walker{q: q, fn: fn, dirs: map[uint32]bool{}, first: map[uint32]string{}}
	root, err := q.inode(q.s.Root)
	if err != nil {
		return fmt.Errorf("read root of squashfs: %w", err)
	}
	if root.Mode&typeMask != typeDir {
		return errors.New("read squashfs: the root is no directory")
	}
	return w.visit(root)
}

func (w *walker) visit(n *Node) error {
	var err error
	if n.XAttrs, err = w.q.readXAttrs(n.xattr); err != nil {
		return fmt.Errorf("read extended attributes of %q: %w", n.Path, err)
	}
	if n.Mode&typeMask != typeDir {
		if first, ok := w.first[n.Number]; ok {
			n.Link = first
		} else if n.Links > 1 {
			w.first[n.Number] = n.Path
		}
		return w.fn(n)
	}
	if w.dirs[n.Number] {
		return fmt.Errorf("read squashfs: directory %q is in the tree twice", n.Path)
	}
	w.dirs[n.Number] = true
	if err := w.fn(n); err != nil {
		return err
	}
	return w.list(n)
}

// list goes through a directory. It keeps its place instead of the listing, which may be of any size.
func (w *walker) list(d *Node) error {
	c, left, last := w.q.listings.cursor(d.list), int64(d.listLength), ""
	for left > 0 {
		h, err := c.fields("444")
		if err != nil {
			return fmt.Errorf("read directory %q: %w", d.Path, err)
		}
		if left -= 12; h[0] >= headerEntries {
			return fmt.Errorf("read directory %q: header of %d names", d.Path, h[0]+1)
		}
		for range h[0] + 1 {
			name, n, err := w.entry(&c, uint32(h[1]), uint32(h[2]))
			if err != nil {
				return fmt.Errorf("read directory %q: %w", d.Path, err)
			}
			if name <= last {
				return fmt.Errorf("read directory %q: %q comes after %q", d.Path, name, last)
			}
			if left -= int64(8 + len(name)); left < 0 {
				return fmt.Errorf("read directory %q: its listing is longer than it says", d.Path)
			}
			last, n.Path = name, name
			if d.Path != "" {
				n.Path = d.Path + "/" + name
			}
			if len(n.Path) > maxPath {
				return fmt.Errorf("read directory %q: path of %d bytes", d.Path, len(n.Path))
			}
			if n.Mode&typeMask == typeDir && n.parent != d.Number {
				return fmt.Errorf("read directory %q: %q says that its parent is inode %d", d.Path, name, n.parent)
			}
			if err := w.visit(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry reads one name and its inode.
func (w *walker) entry(c *cursor, block, number uint32) (string, *Node, error) {
	if w.names++; w.names > maxEntries {
		return "", nil, fmt.Errorf("more than %d names in the image", maxEntries)
	}
	f, err := c.fields("2222") // place in the block, number, type, length of the name
	if err != nil {
		return "", nil, err
	}
	if f[3] >= maxName {
		return "", nil, fmt.Errorf("name of %d bytes", f[3]+1)
	}
	b := make([]byte, f[3]+1)
	if err := c.read(b); err != nil {
		return "", nil, err
	}
	if err := checkName(string(b)); err != nil {
		return "", nil, err
	}
	n, err := w.q.inode(uint64(block)<<16 | f[0])
	if err != nil {
		return "", nil, fmt.Errorf("inode of %q: %w", b, err)
	}
	if n.Number != number+uint32(int32(int16(f[1]))) || f[2] >= uint64(len(kinds)) || n.Mode&typeMask != kinds[f[2]] {
		return "", nil, fmt.Errorf("inode of %q is number %d of mode %#o: the directory says otherwise", b, n.Number, n.Mode)
	}
	return string(b), n, nil
}
