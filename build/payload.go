package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/lkv-io/lkv/build/early"
	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/build/squashfs"
	"github.com/lkv-io/lkv/internal/manifest"
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
		s.root.Volume, s.root.Memory = volumeID(b.Name), s.ram().Minimum-kernelReserve
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
	unpacked := int64(len(l.front))
	for _, s := range l.parts {
		unpacked += s.Unpacked
	}
	m.RAM = memory(unpacked, l.bound(), bootReserve)
}

// squashed is a root file system in a squashfs, with the small initrd that mounts it: microcode, the early segment,
// and what early.Back lists, uncompressed.
type squashed struct {
	store *store
	front []byte
	early segment
	parts []segment
	img   *squashfs.Image
	id    []byte        // report.Image as JSON, by which the guest names itself when memory is too little
	root  rootdesc.Root // ModeCD: SHA256 is known once the squashfs was written
	sum   string        // of the squashfs, once it was written
	done  chan error    // ModeCD: how writing it ended
	mtime int64
}

func (s *squashed) files(ctx context.Context) []iso.Extra {
	if s.root.Mode != rootdesc.ModeCD {
		return nil
	}
	r, w := io.Pipe()
	s.done = make(chan error, 1)
	go func() {
		err := s.squashfs(ctx, w)
		_ = w.CloseWithError(err) // never fails; the reader gets the error too
		s.done <- err
	}()
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
	if s.done != nil { // the reader takes the last byte before the digest is known
		if err := <-s.done; err != nil {
			return fmt.Errorf("write squashfs: %w", err)
		}
	}
	if _, err := w.Write(s.front); err != nil {
		return err
	}
	if err := s.store.copy(ctx, w, s.early); err != nil {
		return err
	}
	back, err := early.Back(s.root, s.id)
	if err != nil {
		return err
	}
	for i, e := range back {
		if err := s.raw(ctx, w, uint32(i+1), e); err != nil {
			return err
		}
	}
	_, err = w.Write(trailerBytes())
	return err
}

// raw writes one entry of the initrd's end, uncompressed.
func (s *squashed) raw(ctx context.Context, w io.Writer, num uint32, e early.Entry) error {
	ino := &inode{mode: typeReg | uint32(e.Mode.Perm()), mtime: s.mtime, data: e.Data}
	r := record{name: e.Path, ino: ino, num: num, links: 1, size: int64(len(e.Data))}
	switch {
	case e.Mode.IsDir():
		ino.mode, r.links = typeDir|uint32(e.Mode.Perm()), 2
	case e.Source == early.Squashfs:
		r.size = s.img.Size()
		return r.around(w, [2]uint32{}, s.mtime, func(w io.Writer) error { return s.squashfs(ctx, w) })
	}
	return r.write(w, nil, [2]uint32{}, s.mtime, nil)
}

// squashfs writes the squashfs and notes its digest.
func (s *squashed) squashfs(ctx context.Context, w io.Writer) error {
	sum := sha256.New()
	_, err := s.img.WriteTo(ctx, io.MultiWriter(w, sum), func(i int) (io.ReadCloser, error) { return s.store.open(s.parts[i]) })
	s.sum = hex.EncodeToString(sum.Sum(nil))
	if s.root.Mode == rootdesc.ModeCD {
		s.root.SHA256 = s.sum
	}
	return err
}

func (s *squashed) describe(m *manifest.Manifest) {
	m.Root = &manifest.File{SHA256: s.sum, Size: s.root.Size}
	m.Segments = append(m.Segments, s.early.Segment)
	m.RAM = s.ram()
}

// ram is what the boot needs. With the squashfs on a CD nothing of the root file system counts.
func (s *squashed) ram() manifest.RAM {
	unpacked, initrd, reserve := int64(len(s.front))+s.early.Unpacked, int64(len(s.front))+s.early.Size+s.tailBound(), int64(cdReserve)
	if s.root.Mode == rootdesc.ModeSquashfs {
		unpacked, initrd, reserve = unpacked+align(s.root.Size, pageSize), initrd+s.root.Size, bootReserve
	}
	return memory(unpacked, initrd, reserve)
}
