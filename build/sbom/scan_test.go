package sbom

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/golden"
)

func TestScan(t *testing.T) {
	for _, name := range []string{"debian", "distroless", "alpine"} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(scanned(t, name), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, "testdata/"+name+".json", string(got)+"\n")
		})
	}
}

// What is kept beside a segment is what was found.
func TestJSONGivesBackWhatWasFound(t *testing.T) {
	_, files := unpack(t, "debian")
	files = append(files, text("usr/bin/\xff\xfe", 0o755, "\x7fELF"), text("etc/os-release", 0o644, "ID=\xff\n"))
	want, err := Scan(files)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Packages
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOrderOfFilesDoesNotMatter(t *testing.T) {
	_, files := unpack(t, "alpine")
	files = append(files, text("usr/lib/os-release", 0o644, "ID=other"))
	want, err := Scan(files)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		got, err := Scan(files)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Fatal(err, d)
		}
	}
}

// A build with ten thousand small files must not open them all.
func TestOnlyCandidatesAreOpened(t *testing.T) {
	var opened []string
	note := func(f File) File {
		open := f.Open
		f.Open = func() (io.ReaderAt, error) {
			opened = append(opened, f.Path)
			return open()
		}
		return f
	}
	files := []File{
		note(text("/etc/passwd", 0o644, "x")), note(text("usr/share/doc/a", 0o644, "\x7fELF")), note(text("usr/lib/m.ko", 0o644, "\x7fELF")),
		note(text("var/lib/dpkg/info/a.postinst", 0o755, "#!")), note(text("/usr/bin/a", 0o755, "#!")), note(text("./usr/lib/liba.so.1", 0o644, "\x7fELF")),
	}
	p, err := Scan(files)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(opened)
	if d := cmp.Diff([]string{"./usr/lib/liba.so.1", "/usr/bin/a", "var/lib/dpkg/info/a.postinst"}, opened); d != "" {
		t.Error(d)
	}
	if p.Files != 5 || p.Unclaimed != 5 || len(p.Programs) != 1 {
		t.Errorf("%d files, %d unclaimed, %d programs", p.Files, p.Unclaimed, len(p.Programs))
	}
}

type closer struct {
	io.ReaderAt
	closed *int
}

func (c closer) Close() error { *c.closed++; return nil }

func TestOpenedFilesAreClosed(t *testing.T) {
	closed := 0
	f := text("usr/bin/a", 0o755, "\x7fELF and more")
	open := f.Open
	f.Open = func() (io.ReaderAt, error) {
		r, err := open()
		return closer{r, &closed}, err
	}
	if _, err := Scan([]File{f}); err != nil || closed != 1 {
		t.Errorf("%v, closed %d times", err, closed)
	}
}

func TestScanRefuses(t *testing.T) {
	broken := errors.New("broken disk")
	large := text("var/lib/dpkg/status", 0o644, "")
	large.Size = maxDatabase + 1
	unreadable := text("usr/bin/a", 0o755, "")
	unreadable.Open = func() (io.ReaderAt, error) { return nil, broken }
	for name, tc := range map[string]struct {
		file File
		want string
	}{
		"too large":         {large, "/var/lib/dpkg/status: 67108865 bytes are too many"},
		"endless line":      {text("lib/apk/db/installed", 0o644, "P:"+strings.Repeat("x", 2<<20)), "/lib/apk/db/installed: a line is longer than"},
		"not a status":      {text("var/lib/dpkg/status", 0o644, "<html>\n"), `"<html>" is no field`},
		"not apk":           {text("lib/apk/db/installed", 0o644, "PK\x03\x04\n"), "is no line of an Alpine package database"},
		"no version":        {text("lib/apk/db/installed", 0o644, "P:a\n"), `no version ("a", "")`},
		"no name":           {text("var/lib/dpkg/status.d/a", 0o644, "Version: 1\n"), `/var/lib/dpkg/status.d/a: a package has no name`},
		"too many packages": {text("lib/apk/db/installed", 0o644, strings.Repeat("P:a\nV:1\n\n", maxPackages+1)), "more than 100000 packages"},
		"cannot be opened":  {unreadable, "open /usr/bin/a: broken disk"},
	} {
		if _, err := Scan([]File{tc.file}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func TestMerge(t *testing.T) {
	_, files := unpack(t, "alpine")
	a, err := Scan(files)
	if err != nil {
		t.Fatal(err)
	}
	b := Packages{OS: &OS{ID: "other"}, Files: 1, Packages: []Package{
		{Name: "musl", Version: "1.2.5-r0", PURL: "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3", License: "other", FoundIn: []string{"attestation"}},
		{Name: "new", Version: "1", FoundIn: []string{"attestation"}}, {Name: "new", Version: "1", License: "MIT", FoundIn: []string{"attestation"}},
	}}
	m := Merge(a, b)
	if len(m.Packages) != len(a.Packages)+1 || m.OS.ID != "alpine" || m.Files != a.Files+1 {
		t.Errorf("%d packages, OS %v, %d files", len(m.Packages), m.OS, m.Files)
	}
	i := slices.IndexFunc(m.Packages, func(p Package) bool { return p.Name == "musl" })
	want := Package{Name: "musl", Version: "1.2.5-r0", License: "MIT", PURL: "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1", FoundIn: []string{"attestation", "lib/apk/db/installed"}}
	if d := cmp.Diff(want, m.Packages[i]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(m, Merge(m, Packages{})); d != "" {
		t.Errorf("merging nothing changes something: %s", d)
	}
	if d := cmp.Diff([]string{"lib/apk/db/installed"}, a.Packages[0].FoundIn); d != "" {
		t.Errorf("merging changed what was merged: %s", d)
	}
}

func FuzzDpkg(f *testing.F) {
	fuzz(f, "var/lib/dpkg/status", "Package: a\nVersion: 1\nStatus: install ok installed\n\n")
}
func FuzzApk(f *testing.F) { fuzz(f, "lib/apk/db/installed", "P:a\nV:1\nF:d\nR:f\n\n") }
func FuzzGo(f *testing.F)  { fuzz(f, "usr/bin/a", "\x7fELF\x02\x01\x01") }
func FuzzOS(f *testing.F)  { fuzz(f, "etc/os-release", "ID='a'\n") }

func fuzz(f *testing.F, path, seed string) {
	f.Add([]byte(seed))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := Scan([]File{text(path, 0o755, string(content))})
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
			return
		}
		for _, q := range p.Packages {
			if q.Name == "" || len(q.FoundIn) != 1 {
				t.Errorf("found %+v", q)
			}
		}
		if d := cmp.Diff(p, Merge(p, Packages{})); d != "" {
			t.Errorf("not tidy: %s", d)
		}
	})
}

// A distribution that vulnerability databases do not know is taken for the one it comes from.
func TestPackageURLNamesTheFamily(t *testing.T) {
	for id, want := range map[string]string{
		"":                       "pkg:deb/debian/a@1",
		"ID=ubuntu":              "pkg:deb/ubuntu/a@1?distro=ubuntu",
		"ID=lkv\nVERSION_ID=1":   "pkg:deb/debian/a@1?distro=lkv-1",
		"ID=alpine":              "pkg:deb/debian/a@1?distro=alpine",
		"VERSION_ID=no distance": "pkg:deb/debian/a@1",
	} {
		p, err := Scan([]File{text("var/lib/dpkg/status.d/a", 0o644, "Package: a\nVersion: 1\n"), text("etc/os-release", 0o644, id)})
		if err != nil || p.Packages[0].PURL != want {
			t.Errorf("%s: %v %v, want %s", id, p.Packages, err, want)
		}
	}
}
