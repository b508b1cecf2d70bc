package iso

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// File modes of the tree: read-only, as the medium is.
const (
	modeDir  = 0o040555
	modeFile = 0o100444
	modeLink = 0o120777
)

// maxRecord is the longest directory record: its length is one byte and even.
const maxRecord = 254

// continueLen is the length of a CE entry.
const continueLen = 28

// suspStart is the SP entry, the first of the root's "." record (SUSP 5.3).
func suspStart() []byte { return []byte{'S', 'P', 7, 1, 0xbe, 0xef, 0} }

// suspExtension is the ER entry that names Rock Ridge. Readers compare only the identifier.
func suspExtension() []byte {
	const id, text, source = "RRIP_1991A", "Rock Ridge: POSIX file system semantics", "IEEE P1282"
	e := []byte{'E', 'R', byte(8 + len(id) + len(text) + len(source)), 1, byte(len(id)), byte(len(text)), byte(len(source)), 1}
	return append(e, id+text+source...)
}

// posix is the PX entry: mode, links, owner 0, group 0.
func posix(n *node) []byte {
	mode, links := uint32(modeFile), uint32(1)
	if n.link != "" {
		mode = modeLink
	}
	if n.dir {
		mode, links = modeDir, 2
		for _, c := range n.children {
			if c.dir {
				links++
			}
		}
	}
	e := make([]byte, 36)
	copy(e, []byte{'P', 'X', 36, 1})
	putBoth32(e[4:], mode)
	putBoth32(e[12:], links)
	putBoth32(e[20:], 0)
	putBoth32(e[28:], 0)
	return e
}

// stamp is the TF entry with the modification time only.
func stamp(t time.Time) []byte {
	e := make([]byte, 12)
	copy(e, []byte{'T', 'F', 12, 1, 0x02})
	putDate7(e[5:], t)
	return e
}

// names are the NM entries of a name; one holds up to 250 bytes.
func names(name string) [][]byte {
	var list [][]byte
	for len(name) > 250 {
		list = append(list, append([]byte{'N', 'M', 255, 1, 1}, name[:250]...))
		name = name[250:]
	}
	return append(list, append([]byte{'N', 'M', byte(5 + len(name)), 1, 0}, name...))
}

// Flags of the components of a symbolic link's target, and of the SL entry itself.
const (
	linkGoesOn = 0x01
	linkSelf   = 0x02
	linkParent = 0x04
	linkRoot   = 0x08
)

// linkTarget makes the SL entries of a symbolic link, RRIP 4.1.3: each holds up to 250 bytes of components, so a
// longer name goes on in the next one.
func linkTarget(target string) [][]byte {
	var list [][]byte
	add := func(flag byte, text string) {
		last := len(list) - 1
		if last < 0 || len(list[last])+2+len(text) > 255 {
			list = append(list, []byte{'S', 'L', 0, 1, 0})
			last++
		}
		list[last] = append(append(list[last], flag, byte(len(text))), text...)
	}
	if strings.HasPrefix(target, "/") {
		add(linkRoot, "")
		target = target[1:]
	}
	for part := range strings.FieldsFuncSeq(target, func(r rune) bool { return r == '/' }) {
		switch {
		case part == ".":
			add(linkSelf, "")
		case part == "..":
			add(linkParent, "")
		case len(part) > 248:
			add(linkGoesOn, part[:248])
			add(0, part[248:])
		default:
			add(0, part)
		}
	}
	for i, e := range list {
		e[2] = byte(len(e))
		if i < len(list)-1 {
			e[4] = linkGoesOn
		}
	}
	return list
}

// overflow is the area of entries that do not fit their directory record.
type overflow struct {
	lba  uint32 // first sector of the area
	data []byte
}

// put stores entries in one sector and returns the CE entry that points there.
func (o *overflow) put(entries [][]byte) []byte {
	total := 0
	for _, e := range entries {
		total += len(e)
	}
	if len(o.data)%sector+total > sector {
		o.data = append(o.data, make([]byte, sector-len(o.data)%sector)...)
	}
	ce := make([]byte, continueLen)
	copy(ce, []byte{'C', 'E', continueLen, 1})
	putBoth32(ce[4:], o.lba+uint32(len(o.data)/sector))
	putBoth32(ce[12:], uint32(len(o.data)%sector))
	putBoth32(ce[20:], uint32(total))
	for _, e := range entries {
		o.data = append(o.data, e...)
	}
	return ce
}

// use appends entries to a record and moves what does not fit to the overflow area.
func (o *overflow) use(rec []byte, entries [][]byte) []byte {
	total := 0
	for _, e := range entries {
		total += len(e)
	}
	fits := len(rec)+total <= maxRecord
	for i, e := range entries {
		if !fits && len(rec)+len(e)+continueLen > maxRecord {
			return append(rec, o.put(entries[i:])...)
		}
		rec = append(rec, e...)
	}
	return rec
}

// piece is what one directory record describes.
type piece struct {
	lba, size uint32
	flags     byte
}

// pieces cuts a file's content into pieces of at most extent bytes. Shared extents stay whole: the directories'
// sizes are fixed before theirs are known, and Options.checked keeps them short enough.
func (n *node) pieces(extent int64) []piece {
	if n.dir {
		return []piece{{n.lba, uint32(n.size), flagDir}}
	}
	var list []piece
	lba, rest := n.lba, n.size
	for ; rest > extent && n.content != nil; rest -= extent {
		list = append(list, piece{lba, uint32(extent), flagExtent})
		lba += uint32(extent / sector)
	}
	return append(list, piece{lba, uint32(rest), 0})
}

// record encodes one directory record, ECMA-119 9.1, with its Rock Ridge entries.
func (o *overflow) record(p piece, ident string, entries [][]byte, t time.Time) []byte {
	rec := make([]byte, 33, maxRecord)
	putBoth32(rec[2:], p.lba)
	putBoth32(rec[10:], p.size)
	putDate7(rec[18:], t)
	rec[25] = p.flags
	putBoth16(rec[28:], 1)
	rec[32] = byte(len(ident))
	rec = append(rec, ident...)
	if len(rec)%2 == 1 {
		rec = append(rec, 0)
	}
	rec = o.use(rec, entries)
	if len(rec)%2 == 1 {
		rec = append(rec, 0)
	}
	rec[0] = byte(len(rec))
	return rec
}

// directory encodes a directory: ".", "..", then the children; no record crosses a sector.
func (o *overflow) directory(d *node, extent int64, t time.Time) []byte {
	common := func(n *node) [][]byte { return [][]byte{posix(n), stamp(t)} }
	self := common(d)
	if d.parent == d {
		self = append([][]byte{suspStart()}, append(self, suspExtension())...)
	}
	out := o.record(d.pieces(extent)[0], "\x00", self, t)
	out = append(out, o.record(d.parent.pieces(extent)[0], "\x01", common(d.parent), t)...)
	for _, c := range d.children {
		for _, p := range c.pieces(extent) {
			rec := o.record(p, c.ident, slices.Concat(common(c), names(c.name), linkTarget(c.link)), t)
			if len(out)%sector+len(rec) > sector {
				out = append(out, make([]byte, sector-len(out)%sector)...)
			}
			out = append(out, rec...)
		}
	}
	return append(out, make([]byte, align(int64(len(out)), sector)-int64(len(out)))...)
}

// pathTable encodes the path table in one byte order, ECMA-119 9.4.
func pathTable(dirs []*node, order binary.AppendByteOrder) []byte {
	var out []byte
	for _, d := range dirs {
		out = append(out, byte(len(d.ident)), 0)
		out = order.AppendUint32(out, d.lba)
		out = order.AppendUint16(out, uint16(d.parent.number))
		out = append(out, d.ident...)
		if len(d.ident)%2 == 1 {
			out = append(out, 0)
		}
	}
	return out
}
