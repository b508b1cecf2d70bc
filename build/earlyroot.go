package build

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/lkv-io/lkv/build/early"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
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
		c, err := k.earlyFiles(ctx, sp, tar, b.Rootfs)
		c.clamp = b.clamp(k)
		c.entries = append(c.entries, entry{"init", &inode{mode: typeReg | 0o755, data: guest, size: int64(len(guest)), mtime: c.clamp}})
		return c, err
	})
	return err
}

// earlyFiles lists directories and kernel modules of the small initrd.
func (r resolved) earlyFiles(ctx context.Context, sp *spill, tar, mode string) (content, error) {
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
	names := []string{strings.TrimPrefix(rootdesc.Path, "/"), strings.TrimPrefix(report.ImagePath, "/")}
	for _, m := range list {
		names = append(names, strings.TrimPrefix(m, "/"))
	}
	made := map[string]bool{}
	for _, n := range names {
		for _, d := range parents(n) {
			if !made[d] {
				made[d] = true
				c.entries = append(c.entries, dirEntries([]string{d}, t.mtime)...)
			}
		}
	}
	for _, n := range names[2:] {
		f, err := t.find(n)
		if err != nil || f == nil || !f.ino.is(typeReg) {
			return content{}, fmt.Errorf("image %s: %s: modules.dep names %s, which is not there", r.ref, tar, n)
		}
		c.entries = append(c.entries, entry{n, f.ino})
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
