package mountinfo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const sample = `22 1 0:2 / / rw shared:1 - rootfs none rw
30 22 8:16 / /var/lib/docker rw,noatime shared:2 master:3 - ext4 /dev/sdb rw
31 22 0:40 /a\040b /mnt/x\134y rw - tmpfs my\011fs rw,size=1k
32 22 8:32 / /var/lib/docker rw - ext4 /dev/sdc rw
`

func TestParse(t *testing.T) {
	got, err := Parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{22, 1, 0, 2, "/", "/", "rw", "rootfs", "none"},
		{30, 22, 8, 16, "/", "/var/lib/docker", "rw,noatime", "ext4", "/dev/sdb"},
		{31, 22, 0, 40, "/a b", `/mnt/x\y`, "rw", "tmpfs", "my\tfs"},
		{32, 22, 8, 32, "/", "/var/lib/docker", "rw", "ext4", "/dev/sdc"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAtIsTheTopmost(t *testing.T) {
	list, err := Parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := At(list, "/var/lib/docker"); !ok || m.Source != "/dev/sdc" {
		t.Errorf("%v %t, want the later mount", m, ok)
	}
	if m, ok := At(list, "/var/lib"); ok {
		t.Errorf("%v: a parent of a mount point is none", m)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"x", "1 2 8:1 / /", "1 2 81 / / rw - ext4 /dev/sda", "1 2 8:x / / rw - a b", "1 2 8:1 / / rw - ext4"} {
		if got, err := Parse(line); err == nil {
			t.Errorf("%q: taken as %v", line, got)
		}
	}
}

func TestReadThisProcess(t *testing.T) {
	list, err := Read("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := At(list, "/proc"); !ok {
		t.Errorf("no /proc among %d mounts", len(list))
	}
}

// escape is what the kernel does to blanks, tabs, newlines and backslashes.
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`/[a-z0-9 \t\\./-]{0,20}`)
		want := Mount{
			ID: rapid.IntRange(0, 1<<30).Draw(t, "id"), Parent: rapid.IntRange(0, 1<<30).Draw(t, "parent"),
			Major: rapid.Uint32Range(0, 4095).Draw(t, "major"), Minor: rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor"),
			Root: name.Draw(t, "root"), Point: name.Draw(t, "point"), Options: "rw", Type: "ext4", Source: name.Draw(t, "source"),
		}
		optional := rapid.SampledFrom([]string{"", " shared:1", " shared:7 master:2"}).Draw(t, "optional")
		line := fmt.Sprintf("%d %d %d:%d %s %s rw%s - ext4 %s rw\n", want.ID, want.Parent, want.Major, want.Minor,
			escape(want.Root), escape(want.Point), optional, escape(want.Source))
		got, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]Mount{want}, got); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add(`1 2 3:4 \ \04 rw - a b`)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse(text)
		if err == nil && len(list) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts from %q", len(list), text)
		}
	})
}
