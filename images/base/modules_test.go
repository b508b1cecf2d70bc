package base

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const modulesDep = `kernel/lib/libcrc32c.ko.xz:
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz
kernel/net/netfilter/x_tables.ko.xz:
kernel/net/netfilter/xt_mark.ko.xz: kernel/net/netfilter/x_tables.ko.xz
kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz
kernel/net/netfilter/nf_conntrack.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/drivers/usb/storage/usb-storage.ko.xz:
`

func TestPickModules(t *testing.T) {
	deps, err := parseModulesDep("modules.dep", strings.NewReader(modulesDep))
	if err != nil {
		t.Fatal(err)
	}
	got, err := deps.pick([]string{"ext4", "usb_storage", "kernel/net/netfilter/ipvs/**", "fuse"}, []string{"kernel/fs/fuse/fuse.ko"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kernel/drivers/usb/storage/usb-storage.ko.xz", "kernel/fs/ext4/ext4.ko.xz", "kernel/fs/jbd2/jbd2.ko.xz",
		"kernel/fs/mbcache.ko.xz", "kernel/lib/libcrc32c.ko.xz", "kernel/net/netfilter/ipvs/ip_vs.ko.xz",
		"kernel/net/netfilter/nf_conntrack.ko.xz",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPickModulesErrors(t *testing.T) {
	deps, err := parseModulesDep("modules.dep", strings.NewReader(modulesDep+"kernel/a.ko: kernel/gone.ko\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = deps.pick([]string{"ext4", "vmxnet9", "kernel/nowhere/**"}, nil)
	if err == nil || !strings.Contains(err.Error(), "vmxnet9, kernel/nowhere/**") {
		t.Errorf("every missing module must be named: %v", err)
	}
	_, err = deps.pick([]string{"a"}, nil)
	if err == nil || !strings.Contains(err.Error(), "kernel/gone.ko") {
		t.Errorf("a dependency without a line must be named: %v", err)
	}
	_, err = parseModulesDep("modules.dep", strings.NewReader("kernel/a.ko:\nrubbish\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "modules.dep:2:") {
		t.Errorf("error without place: %v", err)
	}
}

// Whatever is picked from whatever graph, cycles included, nothing it needs is left out and nothing else comes in.
func TestPickModulesIsClosed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "modules")
		name := func(i int) string { return "kernel/m" + string(rune('a'+i)) + ".ko" }
		deps := moduleDeps{}
		for i := range n {
			for _, j := range rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "needs") {
				deps[name(i)] = append(deps[name(i)], name(j))
			}
			if deps[name(i)] == nil {
				deps[name(i)] = []string{}
			}
		}
		first := rapid.IntRange(0, n-1).Draw(t, "wanted")
		got, err := deps.pick([]string{moduleName(name(first))}, nil)
		if err != nil {
			t.Fatal(err)
		}
		reach := map[string]bool{name(first): true}
		for range n {
			for m := range reach {
				for _, d := range deps[m] {
					reach[d] = true
				}
			}
		}
		if len(got) != len(reach) {
			t.Fatalf("picked %v, reachable %v", got, reach)
		}
		for _, g := range got {
			if !reach[g] {
				t.Fatalf("%s is not needed", g)
			}
		}
	})
}

func FuzzParseModulesDep(f *testing.F) {
	f.Add(modulesDep)
	f.Fuzz(func(t *testing.T, text string) {
		if deps, err := parseModulesDep("f", strings.NewReader(text)); err == nil {
			_, _ = deps.pick([]string{"ext4", "kernel/**"}, nil)
		}
	})
}
