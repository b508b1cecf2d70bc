package squashfs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Version changes when the same entries and contents give other bytes: part of the key of whatever is cached. The
// compressor's own version is another part.
const Version = "lkv-squashfs-1"

// Entry is one name of an image.
type Entry struct {
	Path         string            // slash-separated, relative, "" the root
	Mode         uint32            // st_mode with its type bits
	UID, GID     uint32            // at most 65535 different numbers in an image
	MTime        int64             // seconds since 1970; the format has 1970 to 2106, others become the nearest
	Target       string            // of a symbolic link
	Major, Minor uint32            // of a device, 12 and 20 bits
	Link         string            // path of an earlier entry this is another name of; all else but Path is ignored
	XAttrs       map[string]string // user.*, trusted.* and security.*
	Pack, File   int               // of a regular file: which pack, which file of it
}

// Options are what an image has besides its entries.
type Options struct {
	Epoch int64 // time of the image itself, seconds since 1970
}

// XAttrSupported tells whether the format can hold an extended attribute of that name.
func XAttrSupported(name string) bool {
	_, _, ok := splitXAttr(name)
	return ok
}

// inode is what hard links share.
type inode struct {
	Entry
	number   uint32
	parent   uint32 // number, of a directory
	links    uint32
	children []child
	xattr    uint32 // index of the set
	written  bool
	ref      uint64 // place in the inode table
	listing  uint64 // place in the directory table
	length   int    // of the listing
}

func (i *inode) is(t uint32) bool { return i.Mode&typeMask == t }

// child is a name in a directory.
type child struct {
	name string
	*inode
}

// planner makes the tables of one image.
type planner struct {
	packs     []Pack
	block     int
	starts    []int64 // where each pack begins in the image
	fragments []int   // the index its fragments begin at
	end       int64   // of the packs
	inodes    []*inode
	enc       *zstd.Encoder
	ids       idTable
	xattrs    xattrTable
	itable    metaWriter
	dtable    metaWriter
}

// Plan makes an image of the entries, whose files' contents are in the packs. Entries come in any order, each with
// its parents, the root included, and hard links after what they link to. Packs must have one block size. The
// result depends on the values alone: not on the order of the entries, not on the machine.
func Plan(entries []Entry, packs []Pack, o Options) (*Image, error) {
	p := &planner{packs: packs}
	if err := p.place(); err != nil {
		return nil, fmt.Errorf("plan squashfs: %w", err)
	}
	root, err := p.tree(entries)
	if err != nil {
		return nil, fmt.Errorf("plan squashfs: %w", err)
	}
	if p.enc, err = newEncoder(metaLevel, metaSize); err != nil {
		return nil, fmt.Errorf("plan squashfs: %w", err)
	}
	p.number(root)
	if err := p.describe(); err != nil {
		return nil, fmt.Errorf("plan squashfs: %w", err)
	}
	return p.image(root, o), nil
}

// place puts the packs one after another behind the superblock.
func (p *planner) place() error {
	p.block, p.end = DefaultBlockSize, superSize
	fragments := 0
	for i, pack := range p.packs {
		if err := pack.check(); err != nil {
			return fmt.Errorf("pack %d: %w", i, err)
		}
		if i > 0 && pack.BlockSize != p.block {
			return fmt.Errorf("pack %d: block size %d, pack 0 has %d: make all packs with the same", i, pack.BlockSize, p.block)
		}
		p.block = pack.BlockSize
		p.starts, p.fragments = append(p.starts, p.end), append(p.fragments, fragments)
		p.end += pack.Size
		fragments += len(pack.Fragments)
	}
	return nil
}

// tree joins the entries and returns the root.
func (p *planner) tree(entries []Entry) (*inode, error) {
	byPath := make(map[string]*inode, len(entries))
	for _, e := range entries {
		if err := p.check(e); err != nil {
			return nil, fmt.Errorf("%q: %w", e.Path, err)
		}
		if byPath[e.Path] != nil {
			return nil, fmt.Errorf("%q: there twice", e.Path)
		}
		ino := &inode{Entry: e, xattr: none}
		if e.Link != "" {
			if ino = byPath[e.Link]; ino == nil || ino.is(typeDir) {
				return nil, fmt.Errorf("%q: hard link to %q, which is not an earlier entry other than a directory", e.Path, e.Link)
			}
		}
		ino.links++
		byPath[e.Path] = ino
	}
	for _, e := range entries {
		if e.Path == "" {
			continue
		}
		dir, base := "", e.Path
		if i := strings.LastIndexByte(e.Path, '/'); i >= 0 {
			dir, base = e.Path[:i], e.Path[i+1:]
		}
		d := byPath[dir]
		if d == nil || !d.is(typeDir) {
			return nil, fmt.Errorf("%q: no directory %q to be in", e.Path, dir)
		}
		d.children = append(d.children, child{base, byPath[e.Path]})
	}
	root := byPath[""]
	if root == nil || !root.is(typeDir) {
		return nil, errors.New(`"": the root directory is missing`)
	}
	return root, nil
}

// number gives inodes their numbers, level by level: the children of a directory get a run of numbers, which is
// what its listing stores best.
func (p *planner) number(root *inode) {
	give := func(i *inode) {
		i.number = uint32(len(p.inodes) + 1)
		p.inodes = append(p.inodes, i)
	}
	give(root)
	for at := 0; at < len(p.inodes); at++ {
		d := p.inodes[at]
		if !d.is(typeDir) {
			continue
		}
		d.links++ // "."
		slices.SortFunc(d.children, func(a, b child) int { return cmp.Compare(a.name, b.name) })
		for _, c := range d.children {
			if c.number == 0 {
				give(c.inode)
			}
			if c.is(typeDir) {
				c.parent = d.number
				d.links++ // its ".."
			}
		}
	}
	root.parent = uint32(len(p.inodes) + 1) // a number nobody has, as mksquashfs writes
}

// describe collects owners and attributes, and refuses what inodes cannot hold.
func (p *planner) describe() error {
	if int64(len(p.inodes)) >= none {
		return fmt.Errorf("%d inodes: the format has room for less than 2^32", len(p.inodes))
	}
	p.xattrs.kv.enc = p.enc
	for _, i := range p.inodes {
		p.ids.add(i.UID)
		p.ids.add(i.GID)
		if err := p.xattrs.add(i); err != nil {
			return fmt.Errorf("%q: %w", i.Path, err)
		}
	}
	if n := len(p.ids.list); n > maxIDs {
		return fmt.Errorf("%d different user and group numbers: the format has room for %d", n, maxIDs)
	}
	return nil
}
