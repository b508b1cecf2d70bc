package manifest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func example() Manifest {
	return Manifest{
		Format: Format, Image: "worker", ID: "sha256:01", ISO: File{SHA256: strings.Repeat("a", 64), Size: 4096},
		Arch: "amd64", Boot: []string{"bios", "uefi"}, Rootfs: "initrd", Cmdline: `console=ttyS0 x="a b"`,
		RAM:        RAM{Unpacked: 100, Initrd: 40, Minimum: 240 + 64<<20},
		Persist:    []Persist{{Mount: "/var/lib/docker", Label: "docker", Filesystem: "ext4", Via: "lkv", Gated: true}},
		Components: []Component{{Section: "init", Name: "lkv/init:1", Ref: "lkv/init:1", Digest: "sha256:02"}},
		Segments:   []Segment{{Name: "init[0]", SHA256: "03", Size: 10, Unpacked: 20, Entries: 3}},
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := example()
	var a, b bytes.Buffer
	if err := want.Write(&a); err != nil {
		t.Fatal(err)
	}
	if err := want.Write(&b); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("two writes differ (%v)", err)
	}
	got, err := Read(&a)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":     {"", "EOF"},
		"not JSON":    {"<html>", "invalid character"},
		"no format":   {"{}", "format 0"},
		"newer":       {`{"format":2,"id":"x","iso":{"sha256":"y"}}`, "use a newer lkv"},
		"no digest":   {`{"format":1,"id":"x"}`, "build the image again"},
		"no image ID": {`{"format":1,"iso":{"sha256":"y"}}`, "build the image again"},
	} {
		if _, err := Read(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func TestMounts(t *testing.T) {
	m := example()
	if p, ok := m.Mounts("/var/lib/docker"); !ok || p.Label != "docker" {
		t.Errorf("got %+v, %v", p, ok)
	}
	if _, ok := m.Mounts("/var/lib"); ok {
		t.Error("a path that is not mounted was found")
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := example().Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"format":1,"persist":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(bytes.NewReader(data))
		if err == nil && (m.ID == "" || m.ISO.SHA256 == "" || m.Format > Format) {
			t.Errorf("accepted %+v", m)
		}
	})
}
