package persist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"github.com/lkv-io/lkv/internal/report"
)

func TestGate(t *testing.T) {
	l := newLab(t)
	disk := l.disk("sda", serialA, 80*mib)
	const id = "deadbeef-0000-4000-8000-0123456789ab"
	l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "docker", "-U", id, disk)
	mounts := []mountinfo.Mount{
		{Point: "/var", Type: "tmpfs"}, {Point: "/var/lib/docker", Type: "ext4", Source: "/dev/sda", Major: 8},
		{Point: "/var/crypt", Type: "ext4", Source: "/dev/mapper/x", Major: 253}, {Point: "/var/gone", Type: "ext4", Source: "/dev/sdb", Major: 8, Minor: 16},
	}
	l.must(os.Remove(l.disk("sdb", serialB, mib)))
	for _, c := range []struct{ mount, label, says string }{
		{"/var/lib/docker", "", ""}, {"/var/lib/docker", "docker", ""}, {"/var/crypt", "", ""},
		{"/var/lib/docker", "other", `label "docker" instead of "other"`},
		{"/var/lib", "", "not a mount point"}, {"/var", "", "tmpfs, which is not on a disk"},
		{"/var/crypt", "docker", "cannot be read"}, {"/var/gone", "", "open"},
	} {
		g := Gate{Mount: c.mount, Label: c.label, Sys: l.sys, Dev: l.dev, Reports: t.TempDir()}
		d, err := g.Check(mounts)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s %q: %v, want %q", c.mount, c.label, err, c.says)
		}
		if d.Mounted != (err == nil) || (d.Error == "") != (err == nil) {
			t.Errorf("%s %q: %+v", c.mount, c.label, d)
		}
		if files, _ := filepath.Glob(g.Reports + "/*.json"); len(files) != 1 {
			t.Errorf("%s: reports %v", c.mount, files)
		}
	}
	g := Gate{Mount: "/var/lib/docker", Sys: l.sys, Dev: l.dev, Reports: t.TempDir()}
	l.must(writeReport(g.Reports, report.Disk{Mount: "/var/lib/docker", UUID: id, Formatted: true})) // persist ran before
	got, _ := g.Check(mounts)
	want := report.Disk{Mount: "/var/lib/docker", Device: disk, Serial: serialA, Label: "docker", UUID: id, Filesystem: "ext4", Size: 80 * mib, Mounted: true, Formatted: true}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
