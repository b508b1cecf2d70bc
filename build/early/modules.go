package early

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/internal/rootdesc"
)

// ErrModules is wrapped when a kernel cannot mount the root file system.
var ErrModules = errors.New("this kernel cannot mount such a root file system")

// ModuleTree is what a kernel image says about its modules.
type ModuleTree struct {
	Image   string // reference, for messages
	Release string // the directory below lib/modules
	Dep     []byte // modules.dep; empty when everything is built in
	Builtin []byte // modules.builtin
}

// The modules of a mode, in the order to load them, each after what it depends on. Required ones must be there, as
// a module or built in; of the others a kernel may lack some, and then misses only that hardware. The power button
// comes first: it must work even when nothing else does.
var (
	buttons  = []string{"button", "evdev"}
	required = map[string][]string{
		rootdesc.ModeSquashfs: {"loop", "squashfs", "overlay"},
		rootdesc.ModeCD:       {"loop", "squashfs", "overlay", "isofs", "sr_mod"},
	}
	optional = map[string][]string{
		rootdesc.ModeCD: {
			"sd_mod", "virtio_pci", "ahci", "ata_piix", "ata_generic", "nvme", "virtio_blk", "virtio_scsi",
			"vmw_pvscsi", "mptspi", "mptsas", "xhci_pci", "ehci_pci", "usb_storage", "uas",
		},
	}
)

// Modules returns the absolute paths of the modules that mounting the root file system of a mode needs, in the order
// to load them. Errors name the kernel image; one that lacks a required module wraps ErrModules and names all of them.
func Modules(t ModuleTree, mode string) ([]string, error) {
	if required[mode] == nil {
		return nil, fmt.Errorf("choose kernel modules: unknown root file system mode %q", mode)
	}
	deps, err := parseDep(t.Dep)
	if err != nil {
		return nil, fmt.Errorf("kernel image %s: lib/modules/%s/modules.dep: %w", t.Image, t.Release, err)
	}
	o := order{deps: deps, got: map[string]bool{}}
	builtin := names(strings.Fields(string(t.Builtin)))
	var missing []string
	for _, name := range slices.Concat(buttons, required[mode], optional[mode]) {
		file, ok := deps.byName[name]
		switch {
		case ok:
			if err := o.follow(file); err != nil {
				return nil, fmt.Errorf("kernel image %s: %w", t.Image, err)
			}
		case !slices.Contains(builtin, name) && slices.Contains(required[mode], name):
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("kernel image %s (%s) has no %s, neither as a module nor built in: use another kernel, or rootfs = \"initrd\": %w",
			t.Image, t.Release, strings.Join(missing, ", "), ErrModules)
	}
	for i, f := range o.files {
		o.files[i] = path.Join("/lib/modules", t.Release, f)
	}
	return o.files, nil
}

// depends is a modules.dep. Files are paths below lib/modules/<release>.
type depends struct {
	needs  map[string][]string // by file
	byName map[string]string   // file by module name
}

// parseDep reads lines "file: file file". depmod lists what a module needs with the first to load last.
func parseDep(text []byte) (depends, error) {
	d := depends{needs: map[string][]string{}, byName: map[string]string{}}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if strings.TrimSpace(line) == "" {
			continue
		}
		file, rest, ok := strings.Cut(line, ":")
		if file = strings.TrimSpace(file); !ok || file == "" {
			return depends{}, fmt.Errorf("line %d: %q is not \"module: what it needs\"", n, strings.TrimSpace(line))
		}
		all := append([]string{file}, strings.Fields(rest)...)
		for _, f := range all {
			if path.IsAbs(f) || path.Clean(f) != f || strings.HasPrefix(f, "..") {
				return depends{}, fmt.Errorf("line %d: %q is not a path below the module directory", n, f)
			}
		}
		d.needs[file] = all[1:]
		d.byName[name(file)] = file
	}
	return d, nil
}

// name is a module's name as the kernel knows it.
func name(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

func names(files []string) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = name(f)
	}
	return out
}

// order collects files, each after what it needs.
type order struct {
	deps  depends
	got   map[string]bool
	files []string
}

func (o *order) follow(file string) error {
	if o.got[file] {
		return nil
	}
	needs, ok := o.deps.needs[file]
	if !ok {
		return fmt.Errorf("modules.dep names %s but has no line for it", file)
	}
	o.got[file] = true
	for _, n := range slices.Backward(needs) {
		if err := o.follow(n); err != nil {
			return err
		}
	}
	o.files = append(o.files, file)
	return nil
}
