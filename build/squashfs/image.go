package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Image is a planned image: all of it but the packs' bytes.
type Image struct {
	super  []byte
	packs  []int64 // sizes
	tables []byte
	size   int64
}

// copyStep is how much is copied between looks at the context, in bytes.
const copyStep = 16 << 20

// image writes the tables in the order that the kernel insists on.
func (p *planner) image(root *inode, o Options) *Image {
	p.itable.enc, p.dtable.enc = p.enc, p.enc
	p.write(root)
	s := super{
		Magic: magic, Inodes: uint32(len(p.inodes)), ModTime: uint32(min(max(o.Epoch, 0), math.MaxUint32)),
		BlockSize: uint32(p.block), BlockLog: uint16(bits.Len(uint(p.block)) - 1), Compressor: zstdID, Major: 4,
		Flags: flagDuplicates | flagExport, IDs: uint16(len(p.ids.list)), Root: root.ref,
		FragmentTable: noTable, XAttrTable: noTable, InodeTable: uint64(p.end),
	}
	out := p.itable.finish()
	s.DirectoryTable = uint64(p.end) + uint64(len(out))
	out = append(out, p.dtable.finish()...)
	out = p.fragmentTable(out, &s)
	refs := make([]uint64, len(p.inodes))
	for n, i := range p.inodes {
		refs[n] = i.ref
	}
	out, s.ExportTable = p.lookup(out, put(nil, refs), nil)
	out, s.IDTable = p.lookup(out, put(nil, p.ids.list), nil)
	out = p.xattrTable(out, &s)

	used := p.end + int64(len(out))
	s.BytesUsed = uint64(used)
	img := &Image{super: put(nil, s), size: (used + deviceBlock - 1) / deviceBlock * deviceBlock}
	img.tables = append(out, make([]byte, img.size-used)...)
	for _, pack := range p.packs {
		img.packs = append(img.packs, pack.Size)
	}
	return img
}

// fragmentTable writes where the packs' fragments are.
func (p *planner) fragmentTable(out []byte, s *super) []byte {
	var list []byte
	for i, pack := range p.packs {
		for _, f := range pack.Fragments {
			list = put(list, uint64(p.starts[i]+f.Start), f.Word, uint32(0))
		}
	}
	if s.Fragments = uint32(len(list) / fragmentSize); s.Fragments == 0 {
		s.Flags |= flagNoFragment
		return out
	}
	out, s.FragmentTable = p.lookup(out, list, nil)
	return out
}

// xattrTable writes the attributes: names and values, the sets, and a header of its own before the sets' places.
func (p *planner) xattrTable(out []byte, s *super) []byte {
	if len(p.xattrs.ids) == 0 {
		s.Flags |= flagNoXAttrs
		return out
	}
	head := put(nil, uint64(p.end)+uint64(len(out)), uint32(len(p.xattrs.ids)/xattrIDSize), uint32(0))
	out, s.XAttrTable = p.lookup(append(out, p.xattrs.kv.finish()...), p.xattrs.ids, head)
	return out
}

// Size returns the bytes of the image, padding included.
func (m *Image) Size() int64 { return m.size }

// WriteTo writes the image. open gives the bytes that the Packer of that index wrote; they are copied as they are,
// and it is an error when there are fewer or more of them. It returns how many bytes were written.
func (m *Image) WriteTo(ctx context.Context, w io.Writer, open func(pack int) (io.ReadCloser, error)) (int64, error) {
	n, err := w.Write(m.super)
	written := int64(n)
	if err != nil {
		return written, fmt.Errorf("write squashfs: %w", err)
	}
	for i, size := range m.packs {
		n, err := copyPack(ctx, w, size, func() (io.ReadCloser, error) { return open(i) })
		if written += n; err != nil {
			return written, fmt.Errorf("write squashfs: pack %d: %w", i, err)
		}
	}
	n, err = w.Write(m.tables)
	if written += int64(n); err != nil {
		return written, fmt.Errorf("write squashfs: %w", err)
	}
	return written, nil
}

// copyPack lets the kernel copy when both sides are files.
func copyPack(ctx context.Context, w io.Writer, size int64, open func() (io.ReadCloser, error)) (int64, error) {
	r, err := open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }()
	var done int64
	for done < size {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := io.CopyN(w, r, min(copyStep, size-done))
		if done += n; err != nil {
			return done, fmt.Errorf("copy byte %d of %d: %w", done, size, err)
		}
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case err == nil:
		return done, fmt.Errorf("longer than the %d bytes planned", size)
	case !errors.Is(err, io.EOF):
		return done, err
	}
	return done, nil
}
