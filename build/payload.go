package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/build/squashfs"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
)

// payload is what the boot loader hands to the kernel, and what the guest finds on the medium later.
type payload interface {
	// files are the further files of the ISO. Their contents are read before write is called.
	files(ctx context.Context) []iso.Extra
	// bound is the largest size the initrd can have, bytes.
	bound() int64
	// write writes the initrd.
	write(ctx context.Context, w io.Writer) error
	// describe fills in the manifest after everything is written.
	describe(m *manifest.Manifest)
}

func (b *builder) payload(ucode []byte) (payload, error) {
	front := padded(ucode)
	if b.Rootfs == rootInitrd {
		return &layered{b.store, front, b.parts}, nil
	}
	var packs []squashfs.Pack
	for _, s := range b.parts {
		packs = append(packs, *s.Pack)
	}
	img, err := squashfs.Plan(squashEntries(b.parts), packs, squashfs.Options{Epoch: b.epoch().Unix()})
	if err != nil {
		return nil, fmt.Errorf("plan squashfs: %w", err)
	}
	if b.Rootfs == rootSquashfs && img.Size() > maxFile {
		return nil, fmt.Errorf(`the root file system has %d bytes compressed, an initrd holds files up to 4 GiB: use rootfs = "cd"`, img.Size())
	}
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	s := &squashed{store: b.store, front: front, early: b.early, parts: b.parts, img: img, id: id, mtime: b.epoch().Unix()}
	s.root = rootdesc.Root{Mode: b.Rootfs, Size: img.Size(), Modules: b.early.Modules, Init: "/sbin/init"}
	if b.Rootfs == rootCD {
		s.root.Volume = volumeID(b.Name)
	}
	return s, nil
}

// layered is an initrd that is the root file system: microcode, then a segment a component.
type layered struct {
	store *store
	front []byte
	parts []segment
}

func (l *layered) files(context.Context) []iso.Extra { return nil }

func (l *layered) bound() int64 {
	n := int64(len(l.front))
	for _, s := range l.parts {
		n += s.Size
	}
	return n
}

func (l *layered) write(ctx context.Context, w io.Writer) error {
	if _, err := w.Write(l.front); err != nil {
		return err
	}
	for _, s := range l.parts {
		if err := l.store.copy(ctx, w, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *layered) describe(m *manifest.Manifest) {
	m.RAM.Initrd = l.bound()
	m.RAM.Unpacked = int64(len(l.front))
	for _, s := range l.parts {
		m.RAM.Unpacked += s.Unpacked
	}
}

// squashed is a root file system in a squashfs, with the small initrd that mounts it: microcode, the early segment,
// and uncompressed at the end the image's name, the squashfs itself (unless it lies on the medium), its description
// and the marker that everything before it was unpacked. The order is that of need: what runs out of memory in the
// squashfs has the program that can say so.
type squashed struct {
	store *store
	front []byte
	early segment
	parts []segment
	img   *squashfs.Image
	id    []byte        // report.Image as JSON, by which the guest names itself when memory is too little
	root  rootdesc.Root // SHA256 is known once the squashfs was written
	mtime int64
	tail  int64 // size of what follows the early segment, as written
}

func (s *squashed) files(ctx context.Context) []iso.Extra {
	if s.root.Mode != rootdesc.ModeCD {
		return nil
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(s.squashfs(ctx, w)) }() // the reader gets the error
	return []iso.Extra{{Path: rootdesc.OnMedium, Content: r, Size: s.img.Size()}}
}

// tailBound is more than root.json, marker and trailer take: most of it are the modules' names.
func (s *squashed) tailBound() int64 {
	n := int64(4096 + len(s.id))
	for _, m := range s.root.Modules {
		n += int64(len(m)) + 16
	}
	return n
}

func (s *squashed) bound() int64 {
	n := int64(len(s.front)) + s.early.Size + s.tailBound()
	if s.root.Mode == rootdesc.ModeSquashfs {
		n += align(s.img.Size(), 4)
	}
	return n
}

func (s *squashed) write(ctx context.Context, w io.Writer) error {
	if _, err := w.Write(s.front); err != nil {
		return err
	}
	if err := s.store.copy(ctx, w, s.early); err != nil {
		return err
	}
	n := &counter{}
	w = io.MultiWriter(w, n)
	if err := s.raw(w, 1, report.ImagePath, s.id); err != nil {
		return err
	}
	if s.root.Mode == rootdesc.ModeSquashfs {
		r := record{name: strings.TrimPrefix(rootdesc.Squashfs, "/"), ino: &inode{mode: typeReg | 0o400, mtime: s.mtime}, num: 2, links: 1, size: s.img.Size()}
		if err := r.around(w, [2]uint32{}, s.mtime, func(w io.Writer) error { return s.squashfs(ctx, w) }); err != nil {
			return fmt.Errorf("write squashfs: %w", err)
		}
	}
	if s.root.SHA256 == "" {
		return errors.New("the squashfs is not on the medium") // files was not called
	}
	desc, err := json.Marshal(s.root)
	if err != nil {
		return fmt.Errorf("describe root file system: %w", err)
	}
	err = errors.Join(s.raw(w, 3, rootdesc.Path, append(desc, '\n')), s.raw(w, 4, report.MarkerPath, []byte("complete\n")))
	if err == nil {
		_, err = w.Write(trailerBytes())
	}
	s.tail = n.n
	return err
}

// raw writes one small uncompressed file.
func (s *squashed) raw(w io.Writer, num uint32, name string, data []byte) error {
	e := fileEntry(strings.TrimPrefix(name, "/"), data, s.mtime)
	return record{name: e.name, ino: e.ino, num: num, links: 1, size: e.ino.size}.write(w, nil, [2]uint32{}, s.mtime)
}

// squashfs writes the squashfs and notes its digest.
func (s *squashed) squashfs(ctx context.Context, w io.Writer) error {
	sum := sha256.New()
	_, err := s.img.WriteTo(ctx, io.MultiWriter(w, sum), func(i int) (io.ReadCloser, error) { return s.store.open(s.parts[i]) })
	s.root.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return err
}

func (s *squashed) describe(m *manifest.Manifest) {
	m.Root = &manifest.File{SHA256: s.root.SHA256, Size: s.root.Size}
	m.Segments = append(m.Segments, s.early.Segment)
	m.RAM.Initrd = int64(len(s.front)) + s.early.Size + s.tail
	m.RAM.Unpacked = int64(len(s.front)) + s.early.Unpacked
	if s.root.Mode == rootdesc.ModeSquashfs {
		m.RAM.Unpacked += align(s.root.Size, pageSize)
	}
}
