package iso

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestRefusals: whatever no image can express is an error before the first byte is written.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no firmware":      {func(o *Options) { o.BIOS, o.EFI = nil, nil }, "neither BIOS nor EFI"},
		"no label":         {func(o *Options) { o.VolumeID = "" }, "volume label"},
		"long label":       {func(o *Options) { o.VolumeID = strings.Repeat("x", 33) }, "1 to 32 characters"},
		"label with NUL":   {func(o *Options) { o.VolumeID = "a\x00" }, "character 2"},
		"epoch 1969":       {func(o *Options) { o.Epoch = time.Unix(-1, 0) }, "year 1969"},
		"epoch 2108":       {func(o *Options) { o.Epoch = time.Date(2108, 1, 1, 0, 0, 0, 0, time.UTC) }, "year 2108"},
		"no kernel":        {func(o *Options) { o.Kernel = nil }, "kernel"},
		"no bound":         {func(o *Options) { o.InitrdBound = 0 }, "initrd bound"},
		"bound over FAT16": {func(o *Options) { o.InitrdBound = 2 << 30 }, "FAT16 ends at"},
		"bound over ISO":   {func(o *Options) { o.InitrdBound = 4 << 30; o.EFI = nil }, "isolinux reads files up to"},
		"newline":          {func(o *Options) { o.Cmdline = "a\nb" }, "0x0a"},
		"short isolinux":   {func(o *Options) { o.BIOS.Isolinux = nil }, "isolinux.bin"},
		"no ldlinux":       {func(o *Options) { o.BIOS.Ldlinux = nil }, "ldlinux.c32"},
		"wrong isohdpfx":   {func(o *Options) { o.BIOS.Isohdpfx = make([]byte, 512) }, "512 bytes instead of 432"},
		"stub not PE":      {func(o *Options) { o.EFI.Stub = []byte("#!/bin/sh") }, "not a PE file"},
		"stub cut":         {func(o *Options) { o.EFI.Stub = o.EFI.Stub[:1100] }, "beyond the file"},
		"stub for ARM":     {func(o *Options) { o.EFI.Stub[0x78+4] = 0xaa }, "not x86-64"},
		"stub no EFI":      {func(o *Options) { o.EFI.Stub[0x78+peSubsystem] = 3 }, "not an EFI application"},
		"stub signed":      {func(o *Options) { o.EFI.Stub[0x78+peSecurity] = 1 }, "signed"},
		"stub is a UKI":    {func(o *Options) { copy(o.EFI.Stub[0x78+264+40:], ".linux\x00\x00") }, "already has a section .linux"},
		"stub without room": {func(o *Options) {
			o.EFI.Stub[0x78+peHeaderSize], o.EFI.Stub[0x78+peHeaderSize+1] = 0xf0, 0x01
		}, "room for 496 bytes"},
		"extra twice":       {func(o *Options) { o.Files = append(o.Files, o.Files[0]) }, "already a file"},
		"extra on ours":     {func(o *Options) { o.Files = []Extra{{Path: KernelPath}} }, "already a file"},
		"file as dir":       {func(o *Options) { o.Files = []Extra{{Path: KernelPath + "/x"}} }, "already a file"},
		"dir as file":       {func(o *Options) { o.Files = []Extra{{Path: "boot"}} }, "already a file or directory"},
		"absolute path":     {func(o *Options) { o.Files = []Extra{{Path: "/x"}} }, "not a file name"},
		"dotted path":       {func(o *Options) { o.Files = []Extra{{Path: "a/../x"}} }, "not a file name"},
		"NUL in path":       {func(o *Options) { o.Files = []Extra{{Path: "a\x00"}} }, "NUL"},
		"long name":         {func(o *Options) { o.Files = []Extra{{Path: strings.Repeat("n", 256)}} }, "longer than 255"},
		"deep path":         {func(o *Options) { o.Files = []Extra{{Path: strings.Repeat("d/", 64) + "x"}} }, "64 directory levels"},
		"link with data":    {func(o *Options) { o.Files = []Extra{{Path: "x", Link: "y", Data: []byte("z")}} }, "no content"},
		"long link":         {func(o *Options) { o.Files = []Extra{{Path: "x", Link: strings.Repeat("y", 1025)}} }, "up to 1024"},
		"unclean link":      {func(o *Options) { o.Files = []Extra{{Path: "x", Link: "y/"}} }, `write "y"`},
		"long name in link": {func(o *Options) { o.Files = []Extra{{Path: "x", Link: "a/" + strings.Repeat("y", 256)}} }, "longer than 255"},
		"GRUB and stub":     {func(o *Options) { o.EFI.Grub = grubSample().Grub }, "exclude one another"},
		"GRUB and signer":   {func(o *Options) { o.EFI = grubSample(); o.EFI.Signer = &Signer{} }, "signed already"},
		"no GRUB":           {func(o *Options) { o.EFI = grubSample(); o.EFI.Grub.Grub = nil }, "check GRUB"},
		"shim no program":   {func(o *Options) { o.EFI = grubSample(); o.EFI.Grub.Shim = []byte("x") }, "check shim"},
		"manager alone":     {func(o *Options) { o.EFI = grubSample(); o.EFI.Grub.Shim = nil }, "only shim starts it"},
		"quote for GRUB":    {func(o *Options) { o.EFI = grubSample() }, "GRUB puts a backslash"},
		"ragged stub": {func(o *Options) {
			o.EFI.Signer = &Signer{}
			o.EFI.Stub[0x78+264+40+21] += 2
			o.EFI.Stub = append(o.EFI.Stub, make([]byte, 512)...)
		}, "no section covers"},
	} {
		o, f := sample(), &memory{}
		c.change(&o)
		if _, err := New(f, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
		if len(f.b) > 0 {
			t.Errorf("%s: %d bytes were written", name, len(f.b))
		}
	}
}

func TestInitrdBound(t *testing.T) {
	o := sample()
	o.InitrdBound = 1000
	w, err := New(&memory{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1000)); err != nil {
		t.Errorf("up to the bound: %v", err)
	}
	if n, err := w.Write([]byte{1}); n != 0 || !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the bound: %d, %v", n, err)
	}
	if err := w.Close(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Close after it: %v", err)
	}
}

func TestEmptyInitrd(t *testing.T) {
	w, err := New(&memory{}, sample())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "initrd is empty") {
		t.Errorf("Close: %v", err)
	}
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("Write after Close succeeded")
	}
}

// TestShortContent: content that ends before its size or cannot be read is an error of New that names the file.
func TestShortContent(t *testing.T) {
	for want, c := range map[string]io.Reader{
		"unexpected EOF": strings.NewReader("abc"),
		"no space left":  iotest.ErrReader(errDisk),
	} {
		o := sample()
		o.Files = []Extra{{Path: "rootfs/img", Content: c, Size: 4}}
		if _, err := New(&memory{}, o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "rootfs/img") {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	o := sample()
	o.Files = []Extra{{Path: "x", Content: strings.NewReader(""), Size: -1}}
	if _, err := New(&memory{}, o); err == nil || !strings.Contains(err.Error(), "size -1") {
		t.Errorf("negative size: %v", err)
	}
}

// broken is a File that fails from a certain write on.
type broken struct {
	memory
	left int
}

var errDisk = errors.New("no space left")

func (b *broken) WriteAt(p []byte, at int64) (int, error) {
	if b.left--; b.left < 0 {
		return 0, errDisk
	}
	return b.memory.WriteAt(p, at)
}

// TestWriteErrors fails each write in turn: every failure must surface, wrapped, and stay.
func TestWriteErrors(t *testing.T) {
	for n := 0; ; n++ {
		f := &broken{left: n}
		w, err := New(f, sample())
		if err == nil {
			_, err = io.Copy(w, strings.NewReader("initrd"))
			if again := w.Close(); err == nil {
				err = again
			}
			if second := w.Close(); !errors.Is(second, err) {
				t.Fatalf("write %d: second Close says %v after %v", n, second, err)
			}
		}
		if err == nil {
			if n < 10 {
				t.Fatalf("an image needs more than %d writes", n)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("write %d: %v", n, err)
		}
	}
}
