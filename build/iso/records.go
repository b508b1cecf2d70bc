package iso

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Bits of a directory record's flags.
const (
	flagDir    = 0x02
	flagExtent = 0x80 // the file goes on in the next record
)

// parseRecord reads one directory record up to its identifier and returns the bytes of its system use field.
func parseRecord(b []byte) (e Entry, use []byte, err error) {
	if len(b) < 34 || int(b[0]) > len(b) || int(b[0]) < 34 || 33+int(b[32]) > int(b[0]) {
		return e, nil, fmt.Errorf("directory record is cut off: %w", ErrFormat)
	}
	b = b[:b[0]]
	le := binary.LittleEndian
	e.Extent = Extent{int64(le.Uint32(b[2:])) * sector, int64(le.Uint32(b[10:]))}
	e.Mode = 0o444
	if b[25]&flagDir != 0 {
		e.Mode = fs.ModeDir | 0o555
	}
	e.ModTime = time.Date(1900+int(b[18]), time.Month(b[19]), int(b[20]), int(b[21]), int(b[22]), int(b[23]), 0,
		time.UTC).Add(-time.Duration(int8(b[24])) * 15 * time.Minute)
	idEnd := 33 + int(b[32])
	e.Ident = string(b[33:idEnd])
	e.Path = strings.TrimSuffix(strings.TrimSuffix(e.Ident, ";1"), ".")
	if idEnd%2 == 1 {
		idEnd++
	}
	return e, b[min(idEnd, len(b)):], nil
}

// readDirectory returns a directory's entries without "." and "..".
func (m *Image) readDirectory(dir Extent) ([]Entry, error) {
	if dir.Size > 64<<20 {
		return nil, fmt.Errorf("directory of %d bytes: %w", dir.Size, ErrFormat)
	}
	var list []Entry
	more := false // the last record goes on in the next one
	for at := int64(0); at < dir.Size; at += sector {
		b, err := m.read(dir.Offset+at, sector)
		if err != nil {
			return nil, err
		}
		for len(b) > 0 && b[0] != 0 {
			e, use, err := parseRecord(b)
			if err != nil {
				return nil, err
			}
			goesOn := b[25]&flagExtent != 0
			b = b[b[0]:]
			if e.Ident == "\x00" || e.Ident == "\x01" {
				continue
			}
			if more {
				if err := list[len(list)-1].join(e); err != nil {
					return nil, err
				}
				more = goesOn
				continue
			}
			if err := m.rockRidge(&e, use); err != nil {
				return nil, err
			}
			list = append(list, e)
			more = goesOn
		}
	}
	return list, nil
}

// join adds a file's next extent, which must lie right behind what is already known of it.
func (e *Entry) join(next Entry) error {
	if next.Ident != e.Ident || next.Mode.IsDir() || next.Extent.Offset != e.Extent.Offset+e.Extent.Size {
		return fmt.Errorf("file %q continues elsewhere: %w", e.Ident, ErrFormat)
	}
	e.Extent.Size += next.Extent.Size
	return nil
}

// findRockRidge looks for the SP entry in the root's "." record and returns the skip length it states, or -1.
func (m *Image) findRockRidge(root Extent) (int, error) {
	b, err := m.read(root.Offset, sector)
	if err != nil {
		return -1, fmt.Errorf("read root directory: %w", err)
	}
	_, use, err := parseRecord(b)
	if err != nil {
		return -1, fmt.Errorf("read root directory: %w", err)
	}
	if len(use) >= 7 && string(use[:4]) == "SP\x07\x01" && use[4] == 0xbe && use[5] == 0xef {
		return int(use[6]), nil
	}
	return -1, nil
}

// rockRidge replaces name and mode of e by those of its Rock Ridge entries.
func (m *Image) rockRidge(e *Entry, use []byte) error {
	if m.skip < 0 || m.skip > len(use) {
		return checkEntryName(e.Path)
	}
	var name strings.Builder
	var link linkReader
	use = use[m.skip:]
	for hops := 0; use != nil; hops++ {
		if hops > 32 {
			return fmt.Errorf("continuations of %q do not end: %w", e.Ident, ErrFormat)
		}
		next, err := m.scan(e, use, &name, &link)
		if err != nil {
			return err
		}
		use = next
	}
	if name.Len() > 0 {
		e.Path = name.String()
	}
	if e.Link = link.target; e.Link != "" {
		e.Mode |= fs.ModeSymlink
	}
	return checkEntryName(e.Path)
}

// scan reads one area of entries and returns the area its CE entry points to, or nil.
func (m *Image) scan(e *Entry, use []byte, name *strings.Builder, link *linkReader) (next []byte, err error) {
	le := binary.LittleEndian
	for len(use) >= 4 {
		n := int(use[2])
		if n < 4 || n > len(use) {
			break
		}
		switch s := use[:n]; {
		case string(s[:2]) == "NM" && n >= 5:
			name.Write(s[5:])
		case string(s[:2]) == "PX" && n >= 36:
			e.Mode = e.Mode.Type() | fs.FileMode(le.Uint32(s[4:])&0o777)
		case string(s[:2]) == "SL" && n >= 5:
			if err := link.add(s[5:]); err != nil {
				return nil, err
			}
		case string(s[:2]) == "CE" && n >= continueLen:
			at, size := int64(le.Uint32(s[4:]))*sector+int64(le.Uint32(s[12:])), le.Uint32(s[20:])
			if size > sector {
				return nil, fmt.Errorf("continuation of %d bytes: %w", size, ErrFormat)
			}
			if next, err = m.read(at, int(size)); err != nil {
				return nil, fmt.Errorf("read Rock Ridge continuation: %w", err)
			}
		case string(s[:2]) == "ST":
			return next, nil
		}
		use = use[n:]
	}
	return next, nil
}

// checkEntryName refuses names that would leave the tree.
func checkEntryName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("file name %q: %w", name, ErrFormat)
	}
	return nil
}

// linkReader puts the target of a symbolic link together from the components of its SL entries.
type linkReader struct {
	target string
	goesOn bool // the last component goes on in the next one
}

// maxTarget is the longest target Linux knows, in bytes.
const maxTarget = 4095

func (l *linkReader) add(parts []byte) error {
	for len(parts) > 0 {
		if len(parts) < 2 || len(parts) < 2+int(parts[1]) {
			return fmt.Errorf("symbolic link is cut off: %w", ErrFormat)
		}
		flags, text := parts[0], string(parts[2:2+int(parts[1])])
		parts = parts[2+int(parts[1]):]
		switch {
		case flags&linkSelf != 0:
			text = "."
		case flags&linkParent != 0:
			text = ".."
		case flags&linkRoot != 0:
			text = "/"
		}
		if l.target != "" && !l.goesOn && !strings.HasSuffix(l.target, "/") {
			l.target += "/"
		}
		l.target, l.goesOn = l.target+text, flags&linkGoesOn != 0
		if len(l.target) > maxTarget {
			return fmt.Errorf("symbolic link of more than %d bytes: %w", maxTarget, ErrFormat)
		}
	}
	return nil
}
