package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Entry is one file or directory of an image.
type Entry struct {
	Path    string      // slash-separated, relative to the root, with Rock Ridge names when there are any
	Ident   string      // ISO 9660 identifier, for example "VMLINUZ.;1"
	Mode    fs.FileMode // from Rock Ridge, else 0444 or 0555
	Link    string      // target of a symbolic link
	ModTime time.Time
	Extent  Extent
}

// Boot is one entry of the El Torito catalog.
type Boot struct {
	Platform byte  // PlatformBIOS or PlatformEFI
	Offset   int64 // bytes
	Blocks   int   // 512-byte blocks to load; 0 means up to the end
}

// Image is an ISO 9660 image that was opened for reading. It reads this package's images and those of other
// programs as far as they need neither Joliet nor scattered files nor relocated directories.
type Image struct {
	VolumeID string
	Size     int64 // bytes, as the volume descriptor says
	Boot     []Boot
	r        io.ReaderAt
	entries  []Entry
	skip     int            // bytes before Rock Ridge entries; below 0: none in this image
	seen     map[int64]bool // directories by offset: a damaged image can point back
}

// ErrFormat is wrapped by errors that say that an image is damaged or not ISO 9660.
var ErrFormat = errors.New("not a valid ISO 9660 image")

// maxEntries bounds what a damaged image can make Open collect.
const maxEntries = 100_000

// Open reads the volume descriptors, the boot catalog and the whole tree. Contents are read on demand.
func Open(r io.ReaderAt) (*Image, error) {
	m := &Image{r: r, skip: -1, seen: map[int64]bool{}}
	var pvd []byte
	for lba := int64(16); ; lba++ {
		b, err := m.read(lba*sector, sector)
		if err != nil {
			return nil, fmt.Errorf("read volume descriptor %d: %w", lba, err)
		}
		if string(b[1:6]) != "CD001" || lba > 64 {
			return nil, fmt.Errorf("read volume descriptor %d: %w", lba, ErrFormat)
		}
		if b[0] == 255 {
			break
		}
		if b[0] == 1 && pvd == nil {
			pvd = b
		}
		if b[0] == 0 && bytes.HasPrefix(b[7:], []byte("EL TORITO SPECIFICATION")) {
			if err := m.readCatalog(binary.LittleEndian.Uint32(b[71:])); err != nil {
				return nil, err
			}
		}
	}
	if pvd == nil {
		return nil, fmt.Errorf("find primary volume descriptor: %w", ErrFormat)
	}
	return m, m.readVolume(pvd)
}

func (m *Image) readVolume(pvd []byte) error {
	m.VolumeID = strings.TrimRight(string(pvd[40:72]), " ")
	m.Size = int64(binary.LittleEndian.Uint32(pvd[80:])) * sector
	if s := binary.LittleEndian.Uint16(pvd[128:]); s != sector {
		return fmt.Errorf("read volume: logical blocks of %d bytes: %w", s, ErrFormat)
	}
	root, _, err := parseRecord(pvd[156:190])
	if err != nil {
		return fmt.Errorf("read root record: %w", err)
	}
	if m.skip, err = m.findRockRidge(root.Extent); err != nil {
		return err
	}
	return m.walk("", root.Extent, 1)
}

// readCatalog reads the default entry and every section of the boot catalog's first sector.
func (m *Image) readCatalog(lba uint32) error {
	b, err := m.read(int64(lba)*sector, sector)
	if err != nil {
		return fmt.Errorf("read boot catalog: %w", err)
	}
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	if b[0] != 1 || sum != 0 {
		return fmt.Errorf("read boot catalog: validation entry: %w", ErrFormat)
	}
	m.addBoot(b[1], b[32:64])
	for at := 64; at+64 <= len(b) && (b[at] == 0x90 || b[at] == 0x91); {
		platform, n, last := b[at+1], int(binary.LittleEndian.Uint16(b[at+2:])), b[at] == 0x91
		for at += 32; n > 0 && at+32 <= len(b); n-- {
			m.addBoot(platform, b[at:at+32])
			at += 32
		}
		if last {
			break
		}
	}
	return nil
}

func (m *Image) addBoot(platform byte, b []byte) {
	if b[0] == 0x88 {
		m.Boot = append(m.Boot, Boot{
			Platform: platform,
			Offset:   int64(binary.LittleEndian.Uint32(b[8:])) * sector,
			Blocks:   int(binary.LittleEndian.Uint16(b[6:])),
		})
	}
}

// walk collects a directory and what lies below it.
func (m *Image) walk(path string, dir Extent, depth int) error {
	if depth > maxDepth || m.seen[dir.Offset] {
		return fmt.Errorf("read directory %q: it contains itself or is too deep: %w", path, ErrFormat)
	}
	m.seen[dir.Offset] = true
	list, err := m.readDirectory(dir)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", path, err)
	}
	for _, e := range list {
		e.Path = strings.TrimPrefix(path+"/"+e.Path, "/")
		if len(m.entries) == maxEntries {
			return fmt.Errorf("read directory %q: more than %d entries: %w", path, maxEntries, ErrFormat)
		}
		m.entries = append(m.entries, e)
		if e.Mode.IsDir() {
			if err := m.walk(e.Path, e.Extent, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// Files lists every file and directory but the root, parents before children, in the image's order.
func (m *Image) Files() []Entry { return append([]Entry(nil), m.entries...) }

// Stat finds one entry by its path. The error is an *fs.PathError that wraps fs.ErrNotExist.
func (m *Image) Stat(path string) (Entry, error) {
	for _, e := range m.entries {
		if e.Path == path {
			return e, nil
		}
	}
	return Entry{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
}

// Open returns a reader over one file's content.
func (m *Image) Open(path string) (*io.SectionReader, error) {
	e, err := m.Stat(path)
	if err != nil {
		return nil, err
	}
	if e.Mode.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("is a directory")}
	}
	return io.NewSectionReader(m.r, e.Extent.Offset, e.Extent.Size), nil
}

// ReadFile returns one file's whole content.
func (m *Image) ReadFile(path string) ([]byte, error) {
	r, err := m.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err == nil && int64(len(b)) != r.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return b, nil
}

// read reads n bytes, n being at most a few megabytes.
func (m *Image) read(at int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := m.r.ReadAt(b, at); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}
