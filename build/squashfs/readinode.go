package squashfs

import "fmt"

// Node is a name in an image.
type Node struct {
	Entry             // Pack and File are of no meaning; Link is the first name of an inode met again
	Size       int64  // bytes of a regular file
	Links      uint32 // names the inode says it has
	Number     uint32 // of the inode
	content    content
	list       uint64 // reference of a directory's listing
	listLength uint32
	parent     uint32
	xattr      uint32
}

// kinds maps basic inode types to file types.
var kinds = [...]uint32{0, typeDir, typeReg, typeLink, typeBlk, typeChar, typeFifo, typeSock}

// inode reads the inode that a reference names.
func (q *Reader) inode(ref uint64) (*Node, error) {
	c := q.inodes.cursor(ref)
	h, err := c.fields("222244")
	if err != nil {
		return nil, err
	}
	kind, long := h[0], false
	if kind > extended {
		kind, long = kind-extended, true
	}
	if kind == 0 || kind >= uint64(len(kinds)) {
		return nil, fmt.Errorf("inode of type %d", h[0])
	}
	if max(h[2], h[3]) >= uint64(len(q.ids)) {
		return nil, fmt.Errorf("owner %d:%d of %d", h[2], h[3], len(q.ids))
	}
	if h[5] == 0 || h[5] > uint64(q.s.Inodes) {
		return nil, fmt.Errorf("inode number %d of %d", h[5], q.s.Inodes)
	}
	n := &Node{Number: uint32(h[5]), Links: 1, xattr: none}
	n.Entry = Entry{Mode: kinds[kind] | uint32(h[1])&permMask, UID: q.ids[h[2]], GID: q.ids[h[3]], MTime: int64(h[4])}
	switch kind {
	case inodeDir:
		return n, n.readDir(&c, long)
	case inodeFile:
		return n, n.readFile(q, &c, long)
	default:
		return n, n.readSpecial(&c, kind, long)
	}
}

func (n *Node) readDir(c *cursor, long bool) error {
	layout := "44224" // place, links, size, offset, parent
	if long {
		layout = "4444224" // links, size, place, parent, index entries, offset, attributes
	}
	f, err := c.fields(layout)
	if err != nil {
		return err
	}
	if long {
		n.xattr = uint32(f[6])
		f = []uint64{f[2], f[0], f[1], f[5], f[3]}
	}
	n.list, n.Links, n.parent = f[0]<<16|f[3], uint32(f[1]), uint32(f[4])
	n.listLength = uint32(max(f[2], 3)) - 3
	return nil
}

func (n *Node) readFile(q *Reader, c *cursor, long bool) error {
	layout := "4444" // start, fragment, offset, size
	if long {
		layout = "8884444" // start, size, sparse, links, fragment, offset, attributes
	}
	f, err := c.fields(layout)
	if err != nil {
		return err
	}
	if long {
		n.Links, n.xattr = uint32(f[3]), uint32(f[6])
		f = []uint64{f[0], f[4], f[5], f[1]}
	}
	n.Size = int64(f[3])
	if n.Size < 0 {
		return fmt.Errorf("file of %d bytes", f[3])
	}
	n.content = content{q: q, words: *c, at: f[0], left: n.Size, blocks: n.Size / int64(q.s.BlockSize), fragment: uint32(f[1]), offset: f[2]}
	if n.content.fragment == none && n.Size%int64(q.s.BlockSize) != 0 {
		n.content.blocks++
	}
	return nil
}

func (n *Node) readSpecial(c *cursor, kind uint64, long bool) error {
	layout := "4"
	if kind == inodeLink || kind == inodeBlock || kind == inodeChar {
		layout = "44"
	}
	f, err := c.fields(layout)
	if err != nil {
		return err
	}
	n.Links = uint32(f[0])
	switch kind {
	case inodeLink:
		if f[1] == 0 || f[1] > maxPath {
			return fmt.Errorf("symbolic link to a path of %d bytes", f[1])
		}
		target := make([]byte, f[1])
		if err := c.read(target); err != nil {
			return err
		}
		n.Target = string(target)
	case inodeBlock, inodeChar:
		n.Major, n.Minor = majorMinor(uint32(f[1]))
	}
	if long {
		f, err = c.fields("4")
		if err != nil {
			return err
		}
		n.xattr = uint32(f[0])
	}
	return nil
}
