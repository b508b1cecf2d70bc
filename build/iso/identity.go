package iso

import (
	"crypto/sha512"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// castagnoli is one of the two checksums of a sum; both run in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is a cheap fingerprint of one part of the image. It feeds the image's identifiers (MBR, GPT, FAT), which
// must differ between images and be the same for the same image but protect nothing: SHA-256 over the initrd
// would cost eight times the writing itself on a CPU without SHA instructions.
type sum struct {
	size         int64
	ieee, castag uint32
}

func (s *sum) add(p []byte) {
	s.size += int64(len(p))
	s.ieee = crc32.Update(s.ieee, crc32.IEEETable, p)
	s.castag = crc32.Update(s.castag, castagnoli, p)
}

// identity is what all identifiers of an image are cut from.
type identity [sha512.Size]byte

func (id identity) mbr() []byte       { return id[0:4] }
func (id identity) fat() uint32       { return binary.LittleEndian.Uint32(id[4:]) }
func (id identity) disk() []byte      { return guid(id[16:32]) }
func (id identity) partition() []byte { return guid(id[32:48]) }

// part writes one named part of the identity to the hash.
func part(w io.Writer, name string, p []byte) {
	var s sum
	s.add(p)
	s.writeTo(w, name)
}

func (s sum) writeTo(w io.Writer, name string) {
	b := append([]byte(name), 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.size))
	b = binary.LittleEndian.AppendUint32(b, s.ieee)
	b = binary.LittleEndian.AppendUint32(b, s.castag)
	_, _ = w.Write(b) // a hash never fails
}

// identity derives all identifiers of the image.
func (w *Writer) identity() identity {
	o := w.o
	h := sha512.New()
	part(h, "label", []byte(o.VolumeID))
	part(h, "epoch", binary.LittleEndian.AppendUint64(nil, uint64(o.Epoch.Unix())))
	part(h, "cmdline", []byte(o.Cmdline))
	part(h, "kernel", o.Kernel)
	w.initrd.writeTo(h, "initrd")
	if o.BIOS != nil {
		part(h, "isohdpfx", o.BIOS.Isohdpfx)
	}
	if w.uki != nil {
		part(h, "stub", o.EFI.Stub)
		part(h, "osrel", []byte(o.EFI.OSRelease))
		part(h, "uname", []byte(o.EFI.Uname))
		if o.EFI.Signer != nil {
			part(h, "signer", o.EFI.Signer.cert.Raw)
		}
	}
	for _, x := range w.grub {
		part(h, "grub "+x.path, x.content)
	}
	for _, n := range w.root.files() {
		n.sum.writeTo(h, "file "+n.path())
	}
	for _, x := range o.Files {
		if x.Link != "" {
			part(h, "link "+x.Path, []byte(x.Link))
		}
	}
	return identity(h.Sum(nil))
}
