package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Names of files that lie beside a segment.
const (
	kernelExtra = "kernel"
	ucodeExtra  = "ucode"
	apkExtra    = "apk"
	passwdExtra = "passwd"
	groupExtra  = "group"
)

// bootMagic marks the header of an x86 kernel at offset 0x202 (Documentation/arch/x86/boot.rst).
const bootMagic = "HdrS"

// apkDB is Alpine's list of installed packages. Several init images each bring one; their union is the root's.
const apkDB = "lib/apk/db/installed"

func split(name string) (dir, base string) {
	dir, base = path.Split(name)
	return strings.TrimSuffix(dir, "/"), base
}

// container fills a bundle's directory with the image: <dir>/lower or <dir>/rootfs.
func (r resolved) container(place string, clamp int64) func(context.Context, *spill) (content, error) {
	return func(ctx context.Context, sp *spill) (content, error) {
		t, err := r.unpack(ctx, sp)
		if err != nil {
			return content{}, err
		}
		if err := t.standard(""); err != nil {
			return content{}, fmt.Errorf("image %s: %w", r.ref, err)
		}
		extra, err := t.lift(sp, map[string]string{passwdExtra: passwdFile, groupExtra: groupFile})
		if err != nil {
			return content{}, fmt.Errorf("image %s: %w", r.ref, err)
		}
		list := append(dirEntries(parents(place), t.mtime), t.entries(place)...)
		return content{entries: list, clamp: clamp, extra: extra, image: r.digest.String(), bill: t.bill(sp)}, nil
	}
}

// initImage lays an image over the root.
func (r resolved) initImage(base *root, clamp int64) func(context.Context, *spill) (content, error) {
	return func(ctx context.Context, sp *spill) (content, error) {
		t, err := r.unpack(ctx, sp)
		if err != nil {
			return content{}, err
		}
		if err := t.standard(resolvLink); err != nil {
			return content{}, fmt.Errorf("image %s: %w", r.ref, err)
		}
		extra, err := t.lift(sp, map[string]string{apkExtra: apkDB})
		if err != nil {
			return content{}, fmt.Errorf("image %s: %w", r.ref, err)
		}
		list, err := base.fit(t.entries(""))
		if err != nil {
			return content{}, fmt.Errorf("image %s: %w", r.ref, err)
		}
		return content{entries: base.missing(list), clamp: clamp, extra: extra, image: r.digest.String(), bill: t.bill(sp)}, nil
	}
}

// lift returns those of the named files that are there.
func (t *tree) lift(sp *spill, names map[string]string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, key := range sortedKeys(names) {
		n, err := t.find(names[key])
		if err != nil || n == nil || !n.ino.is(typeReg) || n.ino.size > maxLifted {
			continue // an odd one is of no use, and its image may well be
		}
		if out[key], err = sp.all(n.ino); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxLifted bounds the text files that are lifted; a large Alpine has a package list of 2 MB.
const maxLifted = 64 << 20

// kernelFiles says which files of the kernel image are what.
type kernelFiles struct{ binary, tar, ucode string }

func (c config) kernelFiles() kernelFiles {
	f := kernelFiles{binary: or(c.Kernel.Binary, "kernel"), tar: "kernel.tar"}
	if c.Kernel.Tar != nil {
		f.tar = *c.Kernel.Tar
	}
	if f.tar == "none" {
		f.tar = ""
	}
	if c.Kernel.UCode != nil {
		f.ucode = *c.Kernel.UCode
	}
	return f
}

// kernelImage unpacks the kernel's tar over the root and lifts kernel and microcode out.
func (r resolved) kernelImage(f kernelFiles, base *root, clamp int64) func(context.Context, *spill) (content, error) {
	return func(ctx context.Context, sp *spill) (content, error) {
		t, err := r.unpack(ctx, sp)
		if err != nil {
			return content{}, err
		}
		extra := map[string][]byte{}
		for name, file := range map[string]string{kernelExtra: f.binary, ucodeExtra: f.ucode} {
			if file == "" {
				continue
			}
			if extra[name], err = r.lift(t, sp, file); err != nil {
				return content{}, err
			}
		}
		if k := extra[kernelExtra]; len(k) < 0x206 || string(k[0x202:0x206]) != bootMagic {
			return content{}, fmt.Errorf("image %s: its file %q is no x86 kernel (bzImage)", r.ref, f.binary)
		}
		c := content{clamp: clamp, extra: extra, image: r.digest.String(), bill: t.bill(sp)}
		if f.tar == "" {
			return c, nil
		}
		mods, err := r.modules(ctx, t, sp, f.tar)
		if err != nil {
			return content{}, err
		}
		if c.entries, err = base.fit(mods.entries("")); err != nil {
			return content{}, fmt.Errorf("image %s: %s: %w", r.ref, f.tar, err)
		}
		c.entries, c.release = base.missing(c.entries), mods.release()
		return c, nil
	}
}

// modules folds the tar inside the kernel image. Its contents are copied within the spill file.
func (r resolved) modules(ctx context.Context, t *tree, sp *spill, file string) (*tree, error) {
	n, err := t.find(strings.TrimPrefix(file, "/"))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r.ref, err)
	}
	if n == nil || !n.ino.is(typeReg) {
		return nil, fmt.Errorf("image %s: it has no file %q with the modules (kernel.tar: none if it needs none)", r.ref, file)
	}
	mods := newTree(t.mtime)
	if err := mods.fold(ctx, sp.open(n.ino), 1, sp); err != nil {
		return nil, fmt.Errorf("image %s: %s: %w", r.ref, file, err)
	}
	return mods, sp.flush()
}

// release is the kernel release the modules are for, empty when there is not exactly one.
func (t *tree) release() string {
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		d, err := t.walk(dir, false, 0)
		if err == nil && d != nil && len(d.children) == 1 {
			for name := range d.children {
				return name
			}
		}
	}
	return ""
}

// lift returns one file of an unpacked image.
func (r resolved) lift(t *tree, sp *spill, file string) ([]byte, error) {
	n, err := t.find(strings.TrimPrefix(file, "/"))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r.ref, err)
	}
	if n == nil || !n.ino.is(typeReg) {
		return nil, fmt.Errorf("image %s: it has no file %q", r.ref, file)
	}
	return sp.all(n.ino)
}

// bootFiles lifts the boot loader's files. They become files beside an empty segment, cached like one.
func (r resolved) bootFiles(files map[string]string) func(context.Context, *spill) (content, error) {
	return func(ctx context.Context, sp *spill) (content, error) {
		t, err := r.unpack(ctx, sp)
		if err != nil {
			return content{}, err
		}
		c := content{extra: map[string][]byte{}, image: r.digest.String(), bill: t.bill(sp)}
		for name, file := range files {
			if c.extra[name], err = r.lift(t, sp, file); err != nil {
				return content{}, err
			}
		}
		return c, nil
	}
}

// all reads one small file back. What was written last must be flushed.
func (s *spill) all(i *inode) ([]byte, error) {
	if i.data != nil {
		return i.data, nil
	}
	if i.size > maxWhole {
		return nil, fmt.Errorf("read back: %d bytes, at most %d are read into memory", i.size, int64(maxWhole))
	}
	data, err := io.ReadAll(s.open(i))
	if err == nil && int64(len(data)) != i.size {
		err = errors.New("temporary file is short")
	}
	if err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	return data, nil
}

func dirEntries(names []string, mtime int64) []entry {
	var out []entry
	for _, n := range names {
		out = append(out, entry{n, dirInode(mtime)})
	}
	return out
}
