package squashfs

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// file is an entry with its content.
type file struct {
	Entry
	Data string
}

const when = 1700000000

func dir(path string) file { return file{Entry: Entry{Path: path, Mode: typeDir | 0o755, MTime: when}} }

func reg(path, data string) file {
	return file{Entry: Entry{Path: path, Mode: typeReg | 0o644, MTime: when}, Data: data}
}

// small are pack options with which a test does not need megabytes to get many blocks.
func small() PackOptions {
	return PackOptions{Level: zstd.SpeedFastest, Workers: 2, BlockSize: minBlock}
}

// noise is incompressible.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := r.Read(b); err != nil {
		panic(err)
	}
	return string(b)
}

// text is compressible.
func text(n int) string {
	return string(bytes.Repeat([]byte("forty-two bytes that say nothing at all.\n\n"), n/42+1)[:n])
}

// sample has one of everything.
func sample() []file {
	caps := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	zeros := string(make([]byte, 3*minBlock))
	list := []file{
		dir(""), dir("bin"), dir("dev"), dir("empty"), dir("deep"), dir("deep/deeper"),
		reg("bin/tool", noise(1, 3*minBlock+5)), reg("bin/text", text(5*minBlock)), reg("nothing", ""),
		reg("deep/deeper/short", "short\n"), reg("sparse", zeros+"end"), reg("hole", zeros), reg("half", "begin"+zeros+noise(2, minBlock)),
		reg("caf\xe9 \xff", "name of odd bytes"), reg("bin/set", "root's"), reg("owned", "another's"),
		{Entry: Entry{Path: "link", Mode: typeLink | 0o777, Target: "bin/tool", MTime: when}},
		{Entry: Entry{Path: "gone", Mode: typeLink | 0o777, Target: "/no/where", MTime: when}},
		{Entry: Entry{Path: "dev/console", Mode: typeChar | 0o620, Major: 5, Minor: 1, GID: 5, MTime: when}},
		{Entry: Entry{Path: "dev/sda", Mode: typeBlk | 0o660, Major: 8, Minor: 200, GID: 6, MTime: when}},
		{Entry: Entry{Path: "dev/pipe", Mode: typeFifo | 0o600, MTime: when}},
		{Entry: Entry{Path: "dev/socket", Mode: typeSock | 0o755, MTime: 1}},
		{Entry: Entry{Path: "bin/again", Link: "bin/tool"}}, {Entry: Entry{Path: "deep/again", Link: "bin/again"}},
		{Entry: Entry{Path: "deep/link", Link: "link"}}, {Entry: Entry{Path: "dev/tty", Link: "dev/console"}},
	}
	for i := range list {
		switch e := &list[i].Entry; e.Path {
		case "bin/set":
			e.Mode |= 0o6111
		case "owned":
			e.UID, e.GID = 1000, 4000000000
		case "bin/text":
			e.XAttrs = map[string]string{"user.a": "1", "user.b": "", "trusted.c": noise(3, 300), "security.capability": caps}
		case "nothing", "empty":
			e.XAttrs = map[string]string{"trusted.overlay.opaque": "y"}
		case "link":
			e.XAttrs = map[string]string{"trusted.link": "y"}
		case "dev/console":
			e.XAttrs = map[string]string{"trusted.device": "y"}
		case "dev/pipe":
			e.XAttrs = map[string]string{"trusted.pipe": "y"}
		}
	}
	return list
}

// packs compresses the contents, each into the pack its entry names, and fills in Entry.File.
func packs(t testing.TB, list []file, o PackOptions, n int) ([]Entry, []Pack, [][]byte) {
	t.Helper()
	var entries []Entry
	var bufs []*bytes.Buffer
	var packers []*Packer
	for range n {
		b := &bytes.Buffer{}
		p, err := NewPacker(b, o)
		if err != nil {
			t.Fatal(err)
		}
		bufs, packers = append(bufs, b), append(packers, p)
	}
	for _, f := range list {
		if f.Link == "" && f.Mode&typeMask == typeReg {
			i, err := packers[f.Pack].Add(int64(len(f.Data)), func() (io.Reader, error) { return bytes.NewReader([]byte(f.Data)), nil })
			if err != nil {
				t.Fatal(err)
			}
			f.File = i
		}
		entries = append(entries, f.Entry)
	}
	var out []Pack
	var data [][]byte
	for i, p := range packers {
		pack, err := p.Close()
		if err != nil {
			t.Fatal(err)
		}
		out, data = append(out, throughJSON(t, pack)), append(data, bufs[i].Bytes())
	}
	return entries, out, data
}

// throughJSON is what becomes of a pack in a cache.
func throughJSON(t testing.TB, p Pack) Pack {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var out Pack
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, out); diff != "" {
		t.Fatalf("pack changed in JSON:\n%s", diff)
	}
	return out
}

// build writes an image of the files, whose contents are in n packs.
func build(t testing.TB, list []file, o PackOptions, n int) []byte {
	t.Helper()
	entries, packs, data := packs(t, list, o, n)
	img, err := Plan(entries, packs, Options{Epoch: when})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	written, err := img.WriteTo(context.Background(), &out, from(data))
	if err != nil {
		t.Fatal(err)
	}
	if written != img.Size() || int64(out.Len()) != img.Size() || img.Size()%deviceBlock != 0 {
		t.Fatalf("wrote %d bytes, said %d, planned %d", out.Len(), written, img.Size())
	}
	return out.Bytes()
}

func from(data [][]byte) func(int) (io.ReadCloser, error) {
	return func(i int) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data[i])), nil }
}

// seen is what an image shows of a name.
type seen struct {
	Mode, UID, GID, Links, Major, Minor uint32
	MTime                               int64
	Target, Data                        string
	XAttrs                              map[string]string
	Same                                string // the first name of a hard link, in the order of paths
}

// want is what an image of the files must show.
func want(list []file) map[string]seen {
	first, names := map[string]string{}, map[string][]string{} // of the entry with the inode
	byPath := map[string]file{}
	for _, f := range list {
		byPath[f.Path], first[f.Path] = f, f.Path
		if f.Link != "" {
			first[f.Path] = first[f.Link]
		}
		names[first[f.Path]] = append(names[first[f.Path]], f.Path)
	}
	out := map[string]seen{}
	for p, ino := range first {
		f := byPath[ino]
		s := seen{Mode: f.Mode, UID: f.UID, GID: f.GID, Major: f.Major, Minor: f.Minor, MTime: f.MTime, Target: f.Target, Data: f.Data}
		if len(f.XAttrs) > 0 {
			s.XAttrs = f.XAttrs
		}
		if s.Links = uint32(len(names[ino])); s.Links > 1 {
			s.Same = slices.Min(names[ino])
		}
		out[p] = s
	}
	for p, s := range out {
		if s.Mode&typeMask == typeDir {
			s.Links++
			out[p] = s
		}
	}
	for p, s := range out {
		if d := out[parent(p)]; p != "" && s.Mode&typeMask == typeDir {
			d.Links++
			out[parent(p)] = d
		}
	}
	return out
}

func parent(p string) string { return strings.TrimPrefix(path.Dir("/"+p), "/") }

// read is what our reader sees in an image.
func read(t testing.TB, img []byte) map[string]seen {
	t.Helper()
	r, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	out, groups := map[string]seen{}, map[uint32][]string{}
	err = r.Walk(func(n *Node) error {
		data, err := io.ReadAll(n.Open())
		if err != nil {
			return err
		}
		if int64(len(data)) != n.Size || (n.Link == "") != (len(groups[n.Number]) == 0) || n.Link != "" && n.Link != groups[n.Number][0] {
			t.Errorf("%q: %d of %d bytes, link to %q", n.Path, len(data), n.Size, n.Link)
		}
		groups[n.Number] = append(groups[n.Number], n.Path)
		out[n.Path] = seen{Mode: n.Mode, UID: n.UID, GID: n.GID, Links: n.Links, Major: n.Major, Minor: n.Minor,
			MTime: n.MTime, Target: n.Target, Data: string(data), XAttrs: n.XAttrs}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Facts(); f.Inodes != len(groups) {
		t.Errorf("superblock says %d inodes, there are %d", f.Inodes, len(groups))
	}
	return same(out, groups)
}

// same marks hard links.
func same[K comparable](out map[string]seen, groups map[K][]string) map[string]seen {
	for _, names := range groups {
		for _, p := range names {
			if s := out[p]; len(names) > 1 {
				s.Same = slices.Min(names)
				out[p] = s
			}
		}
	}
	return out
}
