package squashfs

import "math"

// write puts a directory's children into the inode table, then its listing into the directory table, which needs
// their places, then the directory itself.
func (p *planner) write(d *inode) {
	for _, c := range d.children {
		if c.is(typeDir) {
			p.write(c.inode)
		}
	}
	for _, c := range d.children {
		if !c.written {
			p.emit(c.inode)
		}
	}
	list := listing(d.children)
	d.listing, d.length = p.dtable.write(list), len(list)
	p.emit(d)
}

// listing is a directory's content: runs of names whose inodes are in one metadata block and have near numbers.
func listing(children []child) []byte {
	var out []byte
	for len(children) > 0 {
		first, n := children[0], 1
		for n < len(children) && n < headerEntries && follows(first, children[n]) {
			n++
		}
		out = put(out, uint32(n-1), uint32(first.ref>>16), first.number)
		for _, c := range children[:n] {
			out = put(out, uint16(c.ref), int16(int64(c.number)-int64(first.number)), inodeTypes[c.Mode&typeMask], uint16(len(c.name)-1))
			out = append(out, c.name...)
		}
		children = children[n:]
	}
	return out
}

func follows(first, c child) bool {
	delta := int64(c.number) - int64(first.number)
	return c.ref>>16 == first.ref>>16 && delta >= math.MinInt16 && delta <= math.MaxInt16
}

// emit writes one inode, in the long form when the short one has no room for what it is.
func (p *planner) emit(i *inode) {
	var body []byte
	long := i.xattr != none
	switch i.Mode & typeMask {
	case typeDir:
		body, long = i.dir(long)
	case typeReg:
		body, long = p.file(i, long)
	case typeLink:
		body = append(put(nil, i.links, uint32(len(i.Target))), i.Target...)
	case typeChar, typeBlk:
		body = put(nil, i.links, device(i.Major, i.Minor))
	default:
		body = put(nil, i.links)
	}
	if long && !i.is(typeDir) && !i.is(typeReg) {
		body = put(body, i.xattr)
	}
	kind := inodeTypes[i.Mode&typeMask]
	if long {
		kind += extended
	}
	mtime := uint32(min(max(i.MTime, 0), math.MaxUint32))
	head := put(nil, kind, uint16(i.Mode&permMask), p.ids.index[i.UID], p.ids.index[i.GID], mtime, i.number)
	i.ref, i.written = p.itable.write(append(head, body...)), true
}

// dir is the body of a directory. Its size counts three bytes for "." and "..", which are not stored.
func (i *inode) dir(long bool) ([]byte, bool) {
	block, offset, size := uint32(i.listing>>16), uint16(i.listing), uint32(i.length+3)
	if !long && size <= math.MaxUint16 {
		return put(nil, block, i.links, uint16(size), offset, i.parent), false
	}
	return put(nil, i.links, size, block, i.parent, uint16(0), offset, i.xattr), true
}

// file is the body of a regular file.
func (p *planner) file(i *inode, long bool) ([]byte, bool) {
	f := p.packs[i.Pack].Files[i.File]
	sparse := uint64(f.sparse(p.block))
	start, size := uint64(0), uint64(f.Size)
	for _, w := range f.Blocks {
		if w != 0 {
			start = uint64(p.starts[i.Pack] + f.Start)
			break
		}
	}
	fragment, offset := uint32(none), uint32(0)
	if f.Fragment >= 0 {
		fragment, offset = uint32(p.fragments[i.Pack]+f.Fragment), f.FragmentOffset
	}
	if !long && i.links == 1 && sparse == 0 && start <= math.MaxUint32 && size <= math.MaxUint32 {
		return put(nil, uint32(start), fragment, offset, uint32(size), f.Blocks), false
	}
	return put(nil, start, size, sparse, i.links, fragment, offset, i.xattr, f.Blocks), true
}
