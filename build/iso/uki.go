package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Offsets in a PE32+ file, relative to the "PE" signature.
const (
	peSections     = 6
	peOptionalSize = 20
	peOptional     = 24
	peCodeSize     = peOptional + 4
	peInitData     = peOptional + 8
	peAlign        = peOptional + 32
	peFileAlign    = peOptional + 36
	peImageSize    = peOptional + 56
	peHeaderSize   = peOptional + 60
	peChecksum     = peOptional + 64
	peSubsystem    = peOptional + 68
	peSecurity     = peOptional + 112 + 4*8 // data directory 4: attached signatures
)

const peSectionHeader = 40 // bytes

// Characteristics of the sections this package adds. The kernel is code because old stubs jump into it.
const (
	peData = 0x40000040 // initialised data, readable
	peCode = 0x60000020 // code, readable, executable
)

// initrdAlign puts the initrd and the kernel where ISO 9660 can point at them and a file system can share blocks.
const initrdAlign = 4096

// uki is a unified kernel image around an initrd whose size is not known yet.
type uki struct {
	stub    []byte // the stub, padded to initrdAlign, with the small sections behind it
	pe      int64  // offset of the "PE" signature
	table   int64  // offset of the next free section header
	count   uint16 // sections so far
	va      int64  // next free address
	secAl   int64  // SectionAlignment
	fileAl  int64  // FileAlignment
	data    uint32 // SizeOfInitializedData so far
	sources []peSection
	signer  *Signer // nil: unsigned
	ragged  bool    // the stub's sections do not follow one another
}

// peSection is one section header.
type peSection struct {
	name       string
	va, size   int64
	raw, rawSz int64
	flags      uint32
}

// newUKI reads the stub and lays out everything before the initrd.
func newUKI(e *EFI, cmdline string) (*uki, error) {
	u, err := readStub(e.Stub)
	if err != nil {
		return nil, fmt.Errorf("read EFI stub: %w", err)
	}
	if u.signer = e.Signer; u.signer != nil && u.ragged {
		return nil, errors.New("read EFI stub: it has bytes that no section covers, and signatures leave them out")
	}
	// .sbat comes with the stub when it has one; it names the stub's own versions, so none is made up here.
	small := []struct{ name, text string }{{".osrel", e.OSRelease}, {".cmdline", cmdline}, {".uname", e.Uname}}
	for _, s := range small {
		if s.text != "" {
			u.append(s.name, s.text)
		}
	}
	u.stub = append(u.stub, make([]byte, align(int64(len(u.stub)), initrdAlign)-int64(len(u.stub)))...)
	if n := len(u.sources); n > 0 {
		// No gap in the file: signing tools stumble over bytes that belong to no section.
		u.sources[n-1].rawSz = int64(len(u.stub)) - u.sources[n-1].raw
	}
	room := int64(binary.LittleEndian.Uint32(u.stub[u.pe+peHeaderSize:]))
	if need := u.table + int64(len(u.sources)+2)*peSectionHeader; need > room {
		return nil, fmt.Errorf("read EFI stub: its header has room for %d bytes, the sections need %d", room, need)
	}
	return u, nil
}

// append adds one small section behind the stub.
func (u *uki) append(name, text string) {
	s := peSection{name: name, va: u.va, size: int64(len(text)), raw: int64(len(u.stub)), flags: peData}
	u.stub = append(u.stub, text...)
	u.stub = append(u.stub, make([]byte, align(int64(len(u.stub)), u.fileAl)-int64(len(u.stub)))...)
	s.rawSz = int64(len(u.stub)) - s.raw
	u.sources = append(u.sources, s)
	u.va = align(u.va+s.size, u.secAl)
}

// readStub checks that b is an x86-64 EFI program that new sections can be added to.
func readStub(b []byte) (*uki, error) {
	le := binary.LittleEndian
	if len(b) < 64 || string(b[:2]) != "MZ" {
		return nil, errors.New("not a PE file")
	}
	pe := int64(le.Uint32(b[60:]))
	if pe+peSecurity+8 > int64(len(b)) || string(b[pe:pe+4]) != "PE\x00\x00" {
		return nil, errors.New("not a PE file")
	}
	if m := le.Uint16(b[pe+4:]); m != 0x8664 || le.Uint16(b[pe+peOptional:]) != 0x20b {
		return nil, fmt.Errorf("machine 0x%04x is not x86-64", m)
	}
	if s := le.Uint16(b[pe+peSubsystem:]); s != 10 {
		return nil, fmt.Errorf("subsystem %d is not an EFI application", s)
	}
	if le.Uint32(b[pe+peSecurity:]) != 0 {
		return nil, errors.New("it is signed, and new sections would break the signature; take the unsigned one")
	}
	u := &uki{pe: pe, count: le.Uint16(b[pe+peSections:]), data: le.Uint32(b[pe+peInitData:])}
	u.secAl, u.fileAl = int64(le.Uint32(b[pe+peAlign:])), int64(le.Uint32(b[pe+peFileAlign:]))
	if u.secAl < 512 || u.secAl&(u.secAl-1) != 0 || u.fileAl < 512 || u.fileAl > initrdAlign || u.fileAl&(u.fileAl-1) != 0 {
		return nil, fmt.Errorf("alignments %d and %d make no sense", u.secAl, u.fileAl)
	}
	return u, u.readSections(b)
}

// readSections finds the end of the stub's sections, in memory and in the file.
func (u *uki) readSections(b []byte) error {
	le := binary.LittleEndian
	u.table = u.pe + peOptional + int64(le.Uint16(b[u.pe+peOptionalSize:]))
	headers := int64(le.Uint32(b[u.pe+peHeaderSize:]))
	end := headers
	for range u.count {
		if u.table+peSectionHeader > int64(len(b)) {
			return errors.New("section table is cut off")
		}
		h := b[u.table:]
		name := strings.TrimRight(string(h[:8]), "\x00")
		if slices.Contains([]string{".linux", ".initrd", ".cmdline", ".osrel", ".uname"}, name) {
			return fmt.Errorf("it already has a section %s", name)
		}
		u.va = max(u.va, align(int64(le.Uint32(h[12:]))+int64(le.Uint32(h[8:])), u.secAl))
		raw, size := int64(le.Uint32(h[20:])), int64(le.Uint32(h[16:]))
		if size > 0 && raw < headers {
			return fmt.Errorf("section %s lies in the header", name)
		}
		u.ragged = u.ragged || size > 0 && raw != end
		end = max(end, raw+size)
		u.table += peSectionHeader
	}
	if end > int64(len(b)) || u.table > headers {
		return errors.New("sections reach beyond the file")
	}
	u.stub = append(slices.Clip(slices.Clone(b[:end])), make([]byte, align(end, u.fileAl)-end)...)
	return nil
}

// kernelOffset is where the kernel begins in the file, after an initrd of the given size.
func (u *uki) kernelOffset(initrd int64) int64 {
	return int64(len(u.stub)) + align(initrd, initrdAlign)
}

// size is the length of the whole file in bytes, without a signature.
func (u *uki) size(initrd, kernel int64) int64 {
	return u.kernelOffset(initrd) + align(kernel, u.fileAl)
}

// head returns the file up to the initrd with all headers final. The kernel has the highest address because
// some stubs let it unpack in place, over whatever follows it.
func (u *uki) head(initrd, kernel int64) []byte {
	b := slices.Clone(u.stub)
	le := binary.LittleEndian
	va := align(u.va+initrd, u.secAl)
	list := append(slices.Clone(u.sources),
		peSection{".initrd", u.va, initrd, int64(len(b)), align(initrd, initrdAlign), peData},
		peSection{".linux", va, kernel, u.kernelOffset(initrd), align(kernel, u.fileAl), peCode})
	data, code := u.data, le.Uint32(b[u.pe+peCodeSize:])
	for i, s := range list {
		s.put(b[u.table+int64(i)*peSectionHeader:])
		if s.flags == peData {
			data += uint32(s.rawSz)
		} else {
			code += uint32(s.rawSz)
		}
	}
	le.PutUint16(b[u.pe+peSections:], u.count+uint16(len(list)))
	le.PutUint32(b[u.pe+peCodeSize:], code)
	le.PutUint32(b[u.pe+peInitData:], data)
	le.PutUint32(b[u.pe+peImageSize:], uint32(align(va+kernel, u.secAl)))
	le.PutUint32(b[u.pe+peChecksum:], 0) // firmware does not look at it; signing tools fill it in
	return b
}

// finish writes everything of the file at base but the initrd, which is there already, signs it, and returns its
// length.
func (u *uki) finish(f target, base, initrd int64, kernel []byte) (int64, error) {
	at, end := u.kernelOffset(initrd), u.size(initrd, int64(len(kernel)))
	if err := f.zeros(base+int64(len(u.stub))+initrd, base+at); err != nil {
		return 0, err
	}
	if err := f.put(kernel, base+at, "kernel"); err != nil {
		return 0, err
	}
	if err := f.zeros(base+at+int64(len(kernel)), base+end); err != nil {
		return 0, err
	}
	head := u.head(initrd, int64(len(kernel)))
	if err := f.put(head, base, "kernel image's head"); err != nil || u.signer == nil {
		return end, err
	}
	return u.sign(f, base, end, head)
}

func (s peSection) put(b []byte) {
	le := binary.LittleEndian
	clear(b[:peSectionHeader])
	copy(b[:8], s.name)
	le.PutUint32(b[8:], uint32(s.size))
	le.PutUint32(b[12:], uint32(s.va))
	le.PutUint32(b[16:], uint32(s.rawSz))
	le.PutUint32(b[20:], uint32(s.raw))
	le.PutUint32(b[36:], s.flags)
}
