package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/internal/manifest"
	"golang.org/x/sync/errgroup"
)

// write puts the ISO together and gives it and everything beside it their names: each file names only what is there
// already, and the pointer comes last.
func (b *builder) write(ctx context.Context, key string) (Result, error) {
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return Result{}, fmt.Errorf("make output directory: %w", err)
	}
	tmp, err := startISO(b.Out)
	if err != nil {
		return Result{}, fmt.Errorf("write ISO: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	m, layout, err := b.iso(ctx, tmp)
	if err == nil {
		m.ISO, err = settle(tmp)
	}
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return Result{}, fmt.Errorf("write ISO: %w", err)
	}
	base := filepath.Join(b.Out, b.Name+"-"+m.ISO.SHA256[:12])
	r := Result{ISO: base + ".iso", Path: base + ".manifest.json"}
	if err := os.Rename(tmp.Name(), r.ISO); err != nil {
		return Result{}, fmt.Errorf("name ISO: %w", err)
	}
	if m.Files, err = b.beside(ctx, base, r.ISO, layout, m); err != nil {
		return Result{}, err
	}
	r.Manifest = m
	if err := replaceFile(r.Path, m.Write); err != nil {
		return Result{}, err
	}
	if err := writePointer(b.Out, r, key); err != nil {
		return Result{}, err
	}
	b.say(Event{Step: "iso", Name: r.ISO, Bytes: m.ISO.Size})
	return r, nil
}

// settle puts a written file on disk and hashes it at the same time.
func settle(f *os.File) (manifest.File, error) {
	var out manifest.File
	var g errgroup.Group
	g.Go(f.Sync)
	g.Go(func() (err error) {
		out.SHA256, out.Size, err = hashFile(f.Name())
		return err
	})
	return out, g.Wait()
}

// iso streams the initrd to its place between boot loader and kernel.
func (b *builder) iso(ctx context.Context, f *os.File) (manifest.Manifest, iso.Layout, error) {
	none := manifest.Manifest{}
	ucode, err := b.store.extra(b.kernel, ucodeExtra)
	if err != nil {
		return none, iso.Layout{}, err
	}
	p, err := b.payload(ucode)
	if err != nil {
		return none, iso.Layout{}, err
	}
	o, err := b.isoOptions()
	if err != nil {
		return none, iso.Layout{}, err
	}
	o.InitrdBound, o.Files = p.bound(), p.files(ctx)
	defer func() { // whoever fills a pipe that nobody reads any more must end
		for _, x := range o.Files {
			if c, ok := x.Content.(io.Closer); ok {
				_ = c.Close()
			}
		}
	}()
	w, err := iso.New(f, o)
	if err == nil {
		err = p.write(ctx, w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return none, iso.Layout{}, err
	}
	m := b.manifest(ucode, p)
	m.SecureBoot = b.secureBoot(o.Kernel)
	return m, w.Layout(), nil
}

func (s *store) copy(ctx context.Context, w io.Writer, seg segment) error {
	r, err := s.open(seg)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	_, err = io.CopyBuffer(stopper{ctx, w}, r, make([]byte, 1<<20))
	return err
}

// padded is microcode as it goes in front: uncompressed, because the kernel wants it before it can decompress.
func padded(ucode []byte) []byte {
	n := int64(len(ucode))
	return append(bytes.Clone(ucode), make([]byte, align(n, segmentAlign)-n)...)
}

func (b *builder) isoOptions() (iso.Options, error) {
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
	o := iso.Options{VolumeID: volumeID(b.Name), Epoch: b.epoch(), Cmdline: b.config.Kernel.Cmdline, Kernel: kernel}
	for _, fw := range b.Boot {
		if fw == "bios" {
			o.BIOS = &iso.BIOS{Isolinux: files["isolinux"], Ldlinux: files["ldlinux"], Isohdpfx: files["isohdpfx"]}
		} else {
			o.EFI = b.efi(files)
		}
	}
	return o, nil
}

func (b *builder) efi(files map[string][]byte) *iso.EFI {
	if b.EFI == efiGrub {
		return &iso.EFI{Grub: &iso.Grub{Shim: files["shim"], Grub: files["grub"], MokManager: files["mok"]}}
	}
	return &iso.EFI{Stub: files["stub"], OSRelease: b.osRelease(), Uname: b.release(), Signer: b.SecureBoot}
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
