package prove

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/manifest"
)

// Lines are init's only at the margin: what a container prints, or a line that is not complete yet, decides nothing.
func TestEnding(t *testing.T) {
	for log, want := range map[string]string{
		"x\r\nlkv: services started\r\nmore":                  "lkv: services started",
		"lkv: services started":                               "",
		"lkv: services started soon\n":                        "",
		"dhcp: lkv: services started\r\n":                     "",
		"lkv: boot stopped: persist: no di":                   "",
		"lkv: boot stopped: no disk\r\n":                      "lkv: boot stopped: no disk",
		"a: lkv: boot stopped: x\nlkv: boot stopped: y\n":     "lkv: boot stopped: y",
		"[ 1.0] Kernel panic - not syncing: VFS\r\n":          "Kernel panic - not syncing: VFS",
		"lkv: this VM has too little memory for its image.\n": "lkv: this VM has too little memory for its image.",
	} {
		if got := strings.TrimSpace(ending.FindString(log)); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}

func TestConsole(t *testing.T) {
	c := console("lkv: image web sha256:1\r\nlkv: image web sha256:2\r\n" +
		"persist-0: lkv: prove /a found=- wrote=11\r\nlkv: mounted /a /dev/sda serial=s formatted=true\r\n" +
		"lkv: prove /b found=1 wrote=2\r\npersist-1: lkv: prove /b found=x wrote=2\r\n" +
		"persist-1: lkv: prove /b error: no space left\r\nlkv: mounted /b /dev/sdb serial= formatted=false\r\n" +
		"persist-2: lkv: prove /a.c found=12 wrote=13\r\nx: lkv: mounted /c /dev/sdb serial= formatted=false\r\n" +
		"persist-3: lkv: prove /d found=- wro\r\n\r\n")
	if c.image() != "sha256:1" || c.last() != "persist-3: lkv: prove /d found=- wro" || c.started() {
		t.Errorf("%q %q %t", c.image(), c.last(), c.started())
	}
	got := map[string]mark{}
	for _, mount := range []string{"/a", "/b", "/abc", "/a.c", "/d", "/"} {
		if m, ok := c.mark(mount); ok {
			got[mount] = m
		}
	}
	want := map[string]mark{"/a": {found: "-", wrote: "11"}, "/b": {trouble: "no space left"}, "/a.c": {found: "12", wrote: "13"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(mark{})); d != "" {
		t.Error(d)
	}
	if got := c.formatted("/a") + c.formatted("/b") + c.formatted("/c"); got != "truefalse" {
		t.Error(got)
	}
}

func TestWithin(t *testing.T) {
	for ref, want := range map[string]bool{
		"lkv/tools": true, "lkv/tools:1": true, "host:5000/lkv/tools": true, "ghcr.io/x/lkv/tools:1@sha256:0": true,
		"lkv/tools2:1": false, "xlkv/tools:1": false, "lkv/tools/x": false, "tools": false,
	} {
		if within(ref, "lkv/tools") != want {
			t.Errorf("%s: %t", ref, !want)
		}
	}
}

// TestForeignDisksAreForeign asks blkid, as the guest does: a disk that nobody recognises would prove less.
func TestForeignDisksAreForeign(t *testing.T) {
	p := Proof{DiskSize: 80 << 20, Work: t.TempDir(), Manifest: manifest.Manifest{Persist: []manifest.Persist{{Mount: "/a"}, {Mount: "/b"}}}}
	disks, err := p.foreigners()
	if err != nil || len(disks) != 3 {
		t.Fatalf("%d disks, %v", len(disks), err)
	}
	for i, want := range []string{"LABEL=somebody TYPE=ext4", "LABEL=somebody TYPE=ext4", "PTTYPE=gpt"} {
		out, err := exec.CommandContext(t.Context(), "/usr/sbin/blkid", "-p", "-o", "export", disks[i].Path).Output()
		if err != nil {
			t.Fatalf("blkid %s: %v (apt-get install util-linux)", filepath.Base(disks[i].Path), err)
		}
		for _, line := range strings.Fields(want) {
			if !strings.Contains(string(out), line+"\n") {
				t.Errorf("%s: blkid says\n%swant %s", disks[i].Path, out, line)
			}
		}
	}
	serials := map[string]bool{}
	for _, d := range disks {
		serials[d.Serial] = true
	}
	if len(serials) != 3 {
		t.Errorf("serials %v", serials)
	}
}
