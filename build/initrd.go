package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lkv-io/lkv/build/early"
	"github.com/lkv-io/lkv/internal/report"
)

// bootPaths are where the files of the boot image lie, by the names they are cached under.
var bootPaths = map[string]string{
	"isolinux": "isolinux/isolinux.bin",
	"ldlinux":  "isolinux/ldlinux.c32",
	"isohdpfx": "isolinux/isohdpfx.bin",
	"stub":     "efi/linuxx64.efi.stub",
	"init":     early.GuestPath,
	"shim":     "efi/shimx64.efi.signed",
	"mok":      "efi/mmx64.efi.signed",
	"grub":     "efi/gcdx64.efi.signed",
}

// format is how the components of this root file system are stored.
func (b *builder) format() format {
	if b.Rootfs == rootInitrd {
		return asCpio
	}
	return asPack
}

// segments makes every piece of the root file system. The components that share the root file system follow one another,
// because each must know what lies there already; containers are independent of all others.
func (b *builder) segments(ctx context.Context) error {
	b.root = newRoot()
	b.all = len(b.config.Init) + 5
	if b.Rootfs != rootInitrd {
		b.all++
	}
	for _, x := range b.bundles {
		if x.owner {
			b.all++
		}
	}
	var shared []segment
	owned := make([]segment, len(b.bundles))
	tasks := []task{{b.sharedSize(), func(ctx context.Context) (err error) {
		shared, err = b.sharedRoot(ctx)
		return err
	}}}
	for i, x := range b.bundles {
		if !x.owner {
			continue
		}
		tasks = append(tasks, task{x.image.size(), func(ctx context.Context) (err error) {
			owned[i], err = b.container(ctx, x)
			return err
		}})
	}
	if err := runTasks(ctx, tasks); err != nil {
		return err
	}
	b.parts = shared
	for i, x := range b.bundles {
		if x.owner {
			b.parts = append(b.parts, owned[i])
		}
	}
	return b.generated(ctx)
}

// warnLost is said once per component whose file capabilities an initrd cannot carry.
const warnLost = "%s: %d files lose their capabilities (setcap): an initrd has no extended attributes (rootfs = \"squashfs\" keeps them)"

// segment makes or finds one piece and tells about it.
func (b *builder) segment(ctx context.Context, f format, name, key string, create func(context.Context, *spill) (content, error)) (segment, error) {
	s, err := b.store.get(ctx, f, name, key, create)
	if err != nil {
		return segment{}, err
	}
	b.mu.Lock()
	b.done++
	n := b.done
	b.mu.Unlock()
	b.say(Event{Step: "segment", Name: name, Bytes: s.Size, Count: n, Total: b.all, Cached: s.cached})
	if n := capabilities(s.Dropped); n > 0 {
		b.say(Event{Step: "warning", Name: fmt.Sprintf(warnLost, name, n)})
	}
	return s, nil
}

// sharedRoot makes the init images' segments, then the kernel's modules: an init image may turn /lib into a
// link, which the modules then follow.
func (b *builder) sharedRoot(ctx context.Context) ([]segment, error) {
	var out []segment
	for i, ref := range b.config.Init {
		r := b.images[ref]
		name := fmt.Sprintf("init[%d] %s", i, ref)
		s, err := b.segment(ctx, b.format(), name, keyOf("init", r.digest.String(), b.root.key(), fmt.Sprint(b.clamp(r))), r.initImage(b.root, b.clamp(r)))
		if err != nil {
			return nil, err
		}
		if err := b.root.add("image "+ref, s.View); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	r, f := b.images[b.config.Kernel.Image], b.config.kernelFiles()
	key := keyOf("kernel", r.digest.String(), b.root.key(), fmt.Sprint(b.clamp(r)), f.binary, f.tar, f.ucode)
	s, err := b.segment(ctx, b.format(), "kernel "+r.ref, key, r.kernelImage(f, b.root, b.clamp(r)))
	if err != nil {
		return nil, err
	}
	b.kernel = s
	if s.Entries > 0 {
		out = append(out, s)
	}
	if err := b.root.add("image "+r.ref, s.View); err != nil {
		return nil, err
	}
	boot := b.images[b.BootImage]
	files := b.bootFiles()
	b.boot, err = b.segment(ctx, asCpio, "boot "+boot.ref, keyOf("boot", boot.digest.String(), fmt.Sprint(files)), boot.bootFiles(files))
	if err != nil {
		return nil, err
	}
	return out, b.earlySegment(ctx)
}

// bootFiles are the files the chosen firmwares and the root file system need.
func (b *builder) bootFiles() map[string]string {
	out := map[string]string{}
	add := func(names ...string) {
		for _, n := range names {
			out[n] = bootPaths[n]
		}
	}
	if slices.Contains(b.Boot, "bios") {
		add("isolinux", "ldlinux", "isohdpfx")
	}
	switch {
	case !slices.Contains(b.Boot, "uefi"):
	case b.EFI == efiGrub:
		add("shim", "mok", "grub")
	default:
		add("stub")
	}
	if b.Rootfs != rootInitrd {
		add("init")
	}
	return out
}

func (b *builder) container(ctx context.Context, x bundle) (segment, error) {
	clamp := b.clamp(x.image)
	name := strings.TrimPrefix(x.dir, "containers/") + " " + x.image.ref
	return b.segment(ctx, b.format(), name, keyOf("container", x.image.digest.String(), x.rootfs, fmt.Sprint(clamp)), x.image.container(x.rootfs, clamp))
}

// generated adds what comes from the YAML and from this build rather than from an image.
func (b *builder) generated(ctx context.Context) error {
	mtime := b.epoch().Unix()
	lists := make([][]entry, len(b.bundles))
	for i := range b.bundles {
		err := b.nameUser(&b.bundles[i])
		if err == nil {
			lists[i], err = b.bundles[i].entries(mtime)
		}
		if err != nil {
			return err
		}
	}
	if err := b.made(ctx, "containers", merge(lists...), nil); err != nil {
		return err
	}
	db, err := b.apkUnion(mtime)
	if err != nil {
		return err
	}
	files, err := b.config.userFiles(b.root, mtime)
	if err != nil {
		return err
	}
	points := mountPoints(b.root, b.Persist, mtime)
	if err := b.made(ctx, "files", append(append(points, db...), files...), nil); err != nil {
		return err
	}
	return b.last(ctx, mtime)
}

// nameUser looks a USER up that is a name, in the image's own files.
func (b *builder) nameUser(x *bundle) error {
	if x.user == "" || numericUser(x.user) {
		return nil
	}
	var files [2][]byte
	for _, s := range b.parts {
		for i, name := range []string{passwdExtra, groupExtra} {
			if s.Image != x.image.digest.String() || files[i] != nil {
				continue
			}
			var err error
			if files[i], err = b.store.extra(s, name); err != nil {
				return err
			}
		}
	}
	if err := x.runAs(files[0], files[1]); err != nil {
		return fmt.Errorf("%s %s: image %s: %w", x.section, x.Name, x.image.ref, err)
	}
	return nil
}

// made stores entries that are known already, under a key of what they are.
func (b *builder) made(ctx context.Context, name string, list []entry, end []byte) error {
	if len(list) == 0 {
		b.all--
		return nil
	}
	var id bytes.Buffer
	for _, e := range list {
		fmt.Fprintf(&id, "%q %o %d %d %d %q %d:", e.name, e.ino.mode, e.ino.uid, e.ino.gid, e.ino.mtime, e.ino.target, len(e.ino.data))
		id.Write(e.ino.data)
	}
	clamp := b.epoch().Unix()
	s, err := b.segment(ctx, b.format(), name, keyOf("made", id.String(), fmt.Sprint(clamp), string(end)),
		func(context.Context, *spill) (content, error) {
			return content{entries: list, clamp: clamp, end: end}, nil
		})
	if err != nil {
		return err
	}
	if err := b.root.add(name, s.View); err != nil {
		return err
	}
	b.parts = append(b.parts, s)
	return nil
}

// apkUnion joins the package lists of several Alpine init images, as LinuxKit does.
func (b *builder) apkUnion(mtime int64) ([]entry, error) {
	var all []byte
	n := 0
	for _, s := range b.parts {
		db, err := b.store.extra(s, apkExtra)
		if err != nil {
			return nil, err
		}
		if db != nil {
			n++
			all = append(append(all, bytes.TrimRight(db, "\n")...), '\n', '\n')
		}
	}
	if n < 2 {
		return nil, nil
	}
	name, err := b.root.place(apkDB, false)
	return []entry{fileEntry(name, all, mtime)}, err
}

// last adds the segment that ends the initrd: the image's identity, and the marker that is missing when memory
// ran out before.
func (b *builder) last(ctx context.Context, mtime int64) error {
	b.ident = b.identify()
	id, err := b.identity()
	if err != nil {
		return err
	}
	image, marker := strings.TrimPrefix(report.ImagePath, "/"), strings.TrimPrefix(report.MarkerPath, "/")
	if image, err = b.root.place(image, false); err != nil {
		return fmt.Errorf("write image identity: %w", err)
	}
	var list []entry
	for _, d := range parents(image) {
		if !b.root.dirs[d] {
			list = append(list, dirEntries([]string{d}, mtime)...)
		}
	}
	list = append(list, fileEntry(image, id, mtime))
	list = append(list, dirEntries([]string{path.Dir(marker)}, mtime)...)
	n := len(list) + 1
	for _, s := range b.parts {
		n += s.Entries
	}
	list = append(list, fileEntry(marker, []byte(strconv.Itoa(n)+"\n"), mtime))
	return b.made(ctx, "lkv", list, trailerBytes())
}

// identity is the content of report.ImagePath.
func (b *builder) identity() ([]byte, error) {
	id, err := json.Marshal(report.Image{Name: b.Name, ID: b.ident})
	if err != nil {
		return nil, fmt.Errorf("write image identity: %w", err)
	}
	return append(id, '\n'), nil
}

// identify hashes what boots: the segments before the last, kernel and command line.
func (b *builder) identify() string {
	var parts []string
	for _, s := range b.parts {
		parts = append(parts, s.fingerprint())
	}
	return "sha256:" + keyOf(append(parts, b.early.SHA256, b.kernel.Extra[ucodeExtra], b.kernel.Extra[kernelExtra], b.config.Kernel.Cmdline)...)
}
