package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/internal/manifest"
)

// ramReserve is what the kernel and the boot itself need beside root file system and initrd.
const ramReserve = 64 << 20

// write puts the ISO together and gives it, its manifest and the pointer to both their names.
func (b *builder) write(ctx context.Context, key string) (Result, error) {
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return Result{}, fmt.Errorf("make output directory: %w", err)
	}
	tmp, err := os.CreateTemp(b.Out, ".lkv-*.iso")
	if err != nil {
		return Result{}, fmt.Errorf("write ISO: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	ucode, err := b.store.extra(b.kernel, ucodeExtra)
	if err == nil {
		err = b.iso(ctx, tmp, ucode)
	}
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err != nil {
		return Result{}, fmt.Errorf("write ISO: %w", err)
	}
	m := b.manifest(ucode)
	if m.ISO.SHA256, m.ISO.Size, err = hashFile(tmp.Name()); err != nil {
		return Result{}, fmt.Errorf("write ISO: %w", err)
	}
	r, err := publish(b.Out, tmp.Name(), m, key)
	if err == nil {
		b.say(Event{Step: "iso", Name: r.ISO, Bytes: m.ISO.Size})
	}
	return r, err
}

// publish renames the ISO into place, then writes its manifest, then the pointer: each names only what is there.
func publish(out, tmp string, m manifest.Manifest, key string) (Result, error) {
	base := m.Image + "-" + m.ISO.SHA256[:12]
	r := Result{ISO: filepath.Join(out, base+".iso"), Path: filepath.Join(out, base+".manifest.json"), Manifest: m}
	if err := os.Rename(tmp, r.ISO); err != nil {
		return Result{}, fmt.Errorf("name ISO: %w", err)
	}
	if err := replaceFile(r.Path, m.Write); err != nil {
		return Result{}, err
	}
	p := pointer{Format: 1, Image: m.Image, ID: m.ID, ISO: base + ".iso", Manifest: base + ".manifest.json",
		SHA256: m.ISO.SHA256, Size: m.ISO.Size, Key: key}
	err := replaceFile(filepath.Join(out, m.Image+".json"), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	})
	return r, err
}

// iso streams the segments to their place between boot loader and kernel.
func (b *builder) iso(ctx context.Context, f *os.File, ucode []byte) error {
	o, err := b.isoOptions(ucode)
	if err != nil {
		return err
	}
	w, err := iso.New(f, o)
	if err != nil {
		return err
	}
	if _, err := w.Write(padded(ucode)); err != nil {
		return err
	}
	for _, s := range b.initrd {
		if err := copySegment(ctx, w, s); err != nil {
			return fmt.Errorf("segment %s: %w", s.Name, err)
		}
	}
	return w.Close()
}

func copySegment(ctx context.Context, w io.Writer, s segment) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	n, err := io.CopyBuffer(stopper{ctx, w}, f, make([]byte, 1<<20))
	if err == nil && n != s.Size {
		err = fmt.Errorf("%d bytes instead of %d", n, s.Size)
	}
	return err
}

// padded is microcode as it goes in front: uncompressed, because the kernel wants it before it can decompress.
func padded(ucode []byte) []byte {
	n := int64(len(ucode))
	return append(bytes.Clone(ucode), make([]byte, align(n, segmentAlign)-n)...)
}

func (b *builder) isoOptions(ucode []byte) (iso.Options, error) {
	files := map[string][]byte{}
	for name := range b.boot.Extra {
		var err error
		if files[name], err = b.store.extra(b.boot, name); err != nil {
			return iso.Options{}, err
		}
	}
	kernel, err := b.store.extra(b.kernel, kernelExtra)
	if err != nil {
		return iso.Options{}, err
	}
	o := iso.Options{VolumeID: volumeID(b.Name), Epoch: b.epoch(), Cmdline: b.config.Kernel.Cmdline, Kernel: kernel, InitrdBound: int64(len(padded(ucode)))}
	for _, s := range b.initrd {
		o.InitrdBound += s.Size
	}
	for _, fw := range b.Boot {
		if fw == "bios" {
			o.BIOS = &iso.BIOS{Isolinux: files["isolinux"], Ldlinux: files["ldlinux"], Isohdpfx: files["isohdpfx"]}
		} else {
			o.EFI = &iso.EFI{Stub: files["stub"], OSRelease: b.osRelease(), Uname: b.release()}
		}
	}
	return o, nil
}

// osRelease names the image in boot menus, in the format of os-release(5).
func (b *builder) osRelease() string {
	return fmt.Sprintf("ID=lkv\nNAME=%q\nPRETTY_NAME=%q\nVERSION_ID=%s\n", "lkv", "lkv "+b.Name, b.ident[len("sha256:"):][:12])
}

var notVolume = regexp.MustCompile(`[^A-Z0-9_]`)

func volumeID(name string) string {
	id := "LKV_" + notVolume.ReplaceAllString(strings.ToUpper(name), "_")
	return id[:min(len(id), 32)]
}

// replaceFile writes a file so that it is never seen half-written.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".lkv-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
