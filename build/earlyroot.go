package build

import (
	"context"
	"fmt"
	"path"

	"github.com/lkv-io/lkv/build/early"
)

// earlySegment makes the part of the small initrd that is the same for every image with this kernel: the program
// that mounts the root file system and the kernel modules it needs.
func (b *builder) earlySegment(ctx context.Context) error {
	if b.Rootfs == rootInitrd {
		return nil
	}
	k, tar := b.images[b.config.Kernel.Image], b.config.kernelFiles().tar
	guest, err := b.store.extra(b.boot, "init")
	if err != nil {
		return err
	}
	key := keyOf("early", k.digest.String(), tar, b.boot.Extra["init"], b.Rootfs, fmt.Sprint(b.clamp(k)))
	b.early, err = b.segment(ctx, asCpio, "early "+k.ref, key, func(ctx context.Context, sp *spill) (content, error) {
		c, err := k.earlyFiles(ctx, sp, tar, b.Rootfs, guest)
		c.clamp = b.clamp(k)
		return c, err
	})
	return err
}

// earlyFiles lists what package early wants in front.
func (r resolved) earlyFiles(ctx context.Context, sp *spill, tar, mode string, guest []byte) (content, error) {
	t := newTree(0)
	if tar != "" {
		image, err := r.unpack(ctx, sp)
		if err != nil {
			return content{}, err
		}
		if t, err = r.modules(ctx, image, sp, tar); err != nil {
			return content{}, err
		}
	}
	list, err := r.moduleList(t, sp, mode)
	if err != nil {
		return content{}, err
	}
	c := content{modules: list}
	for _, e := range early.Front(list) {
		ino := &inode{mode: typeReg | uint32(e.Mode.Perm()), data: guest, size: int64(len(guest)), mtime: t.mtime}
		switch {
		case e.Mode.IsDir():
			ino = dirInode(t.mtime)
		case e.Source == early.Module:
			f, err := t.find(e.Path)
			if err != nil || f == nil || !f.ino.is(typeReg) {
				return content{}, fmt.Errorf("image %s: %s: modules.dep names %s, which is not there", r.ref, tar, e.Path)
			}
			ino = f.ino
		}
		c.entries = append(c.entries, entry{e.Path, ino})
	}
	return c, nil
}

// moduleList asks package early which modules the mode needs.
func (r resolved) moduleList(t *tree, sp *spill, mode string) ([]string, error) {
	release := t.release()
	m := early.ModuleTree{Image: r.ref, Release: release}
	for name, to := range map[string]*[]byte{"modules.dep": &m.Dep, "modules.builtin": &m.Builtin} {
		n, err := t.find(path.Join("lib/modules", release, name))
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r.ref, err)
		}
		if n == nil || !n.ino.is(typeReg) {
			continue // package early says what is missing
		}
		if *to, err = sp.all(n.ino); err != nil {
			return nil, fmt.Errorf("image %s: read %s: %w", r.ref, name, err)
		}
	}
	return early.Modules(m, mode)
}
