package conformance

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// created is when all synthetic images were made; their files are a day older.
var created = time.Date(2024, 5, 7, 12, 0, 0, 0, time.UTC)

// ent is one tar entry: "dir/", "link->target", "hard=>target" or a file.
type ent struct {
	name     string
	body     string
	mode     int64
	uid, gid int
	kind     byte // tar type of devices and fifos
	dev      [2]int64
	xattrs   map[string]string
	mtime    time.Time
}

type entries []ent

// files are plain entries by the spelling of ent.name.
func files(names ...string) entries {
	var out entries
	for _, n := range names {
		out = append(out, ent{name: n, body: "content of " + n + "\n"})
	}
	return out
}

func (e ent) header() *tar.Header {
	h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.uid, Gid: e.gid, ModTime: e.mtime, Typeflag: tar.TypeReg,
		Devmajor: e.dev[0], Devminor: e.dev[1], Format: tar.FormatPAX}
	if h.ModTime.IsZero() {
		h.ModTime = created.AddDate(0, 0, -1)
	}
	for k, v := range e.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	def := int64(0o644)
	switch {
	case e.kind != 0:
		h.Typeflag = e.kind
	case strings.Contains(e.name, "=>"):
		h.Typeflag = tar.TypeLink
		h.Name, h.Linkname, _ = strings.Cut(e.name, "=>")
	case strings.Contains(e.name, "->"):
		h.Typeflag, def = tar.TypeSymlink, 0o777
		h.Name, h.Linkname, _ = strings.Cut(e.name, "->")
	case strings.HasSuffix(e.name, "/"):
		h.Typeflag, def = tar.TypeDir, 0o755
	default:
		h.Size = int64(len(e.body))
	}
	if h.Mode == 0 {
		h.Mode = def
	}
	return h
}

// pack writes a tar.
func (list entries) pack(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range list {
		h := e.header()
		if err := tw.WriteHeader(h); err != nil {
			t.Fatalf("pack %s: %v", e.name, err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(tw, e.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageOf makes an image of layers.
func imageOf(t testing.TB, c v1.Config, layers ...entries) v1.Image {
	t.Helper()
	img := empty.Image
	for _, l := range layers {
		data := l.pack(t)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.Created, cf.OS, cf.Architecture, cf.Config = v1.Time{Time: created}, "linux", "amd64", c
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

var run = v1.Config{Cmd: []string{"/app"}}

// bzImage has just the header lkv looks for.
func bzImage() string {
	b := bytes.Repeat([]byte{0x90}, 4096)
	copy(b[0x202:], "HdrS\x0f\x02")
	b[0x1f1] = 1
	return string(b)
}

// ucode is a microcode archive as the kernel wants it: without compression.
func ucode() string {
	var b bytes.Buffer
	add := func(name, body string, mode int) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", 1, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name)+1, 0, name)
		b.Write(make([]byte, (4-b.Len()%4)%4))
		b.WriteString(body)
		b.Write(make([]byte, (4-b.Len()%4)%4))
	}
	for _, d := range []string{"kernel", "kernel/x86", "kernel/x86/microcode"} {
		add(d, "", 0o40755)
	}
	add("kernel/x86/microcode/GenuineIntel.bin", "microcode", 0o100644)
	add("TRAILER!!!", "", 0)
	b.Write(make([]byte, (512-b.Len()%512)%512))
	return b.String()
}

func kernelImage(t testing.TB) v1.Image {
	t.Helper()
	modules := append(files("lib/", "lib/modules/", "lib/modules/6.12.0/", "lib/modules/6.12.0/modules.dep", "lib/modules/6.12.0/kernel/", "lib/modules/6.12.0/kernel/a.ko"),
		ent{name: "lib/modules/6.12.0/build->/usr/src"})
	return imageOf(t, v1.Config{}, entries{{name: "kernel", body: bzImage()}, {name: "kernel.tar", body: string(modules.pack(t))},
		{name: "System.map", body: "dropped"}, {name: "intel-ucode.cpio", body: ucode()}})
}
