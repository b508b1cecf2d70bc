package manifest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// with is a manifest Read takes, and these fields.
func with(fields string) string {
	return `{"format":1,"id":"x","iso":{"sha256":"` + sum + `"},` + fields + `}`
}

func TestReadRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":     {"", "unexpected end"},
		"not JSON":    {"<html>", "invalid character"},
		"no format":   {"{}", "format 0"},
		"newer":       {`{"format":2,"id":"x","iso":{"sha256":"y"}}`, "use a newer lkv"},
		"no digest":   {`{"format":1,"id":"x"}`, "build the image again"},
		"no image ID": {`{"format":1,"iso":{"sha256":"y"}}`, "build the image again"},
		"no hex":      {`{"format":1,"id":"x","iso":{"sha256":"y"}}`, `"y" is no SHA-256`},
		"short":       {`{"format":1,"id":"x","iso":{"sha256":"aa"}}`, "is no SHA-256"},
		"capitals":    {with(`"iso":{"sha256":"` + strings.Repeat("A", 64) + `"}`), "is no SHA-256"},
		"size":        {with(`"iso":{"sha256":"` + sum + `","size":-1}`), "iso: size -1"},
		"huge size":   {with(`"iso":{"size":9223372036854775808}`), "cannot unmarshal"},
		"root":        {with(`"root":{"sha256":"","size":1}`), "root: "},
		"memory":      {with(`"ram":{"minimum":-1}`), "memory of -1"},
		"two":         {with(`"name":1`) + "{}", "after top-level value"},
		"deep":        {with(`"persist":` + strings.Repeat("[", 1<<20)), "exceeded max depth"},
		"endless":     {strings.Repeat(" ", maxManifest+1), "more than 16 MiB"},
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
	f.Add([]byte(with(`"files":[{"name":"a","sha256":"` + sum + `"}],"root":{"sha256":"` + sum + `"}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		if m.ID == "" || len(m.ISO.SHA256) != 64 || m.Format != Format || m.ISO.Size < 0 {
			t.Errorf("accepted %+v", m)
		}
		var b bytes.Buffer
		if err := m.Write(&b); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&b)
		if d := cmp.Diff(m, again, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Errorf("written and read again: %v %s", err, d)
		}
	})
}
