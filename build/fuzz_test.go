package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"github.com/lkv-io/lkv/build/squashfs"
)

// longest is how many bytes of contents a fuzzed layer may announce: a sparse file of a few bytes unpacks to GiB.
const longest = 1 << 20

// FuzzFold: whatever a layer says, it is refused or becomes entries below the prefix, each after its directory, that
// read back from cpio as they were.
func FuzzFold(f *testing.F) {
	seedLayers(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, sp := folded(t, data, asCpio)
		if tr == nil {
			return
		}
		for _, prefix := range []string{"p/q", ""} {
			list := append(dirEntries(parents(prefix), 0), tr.entries(prefix)...)
			var out bytes.Buffer
			for _, r := range number(list) {
				if err := r.write(&out, sp, [2]uint32{}, 1<<31, nil); err != nil {
					t.Fatal(err)
				}
			}
			out.Write(trailerBytes())
			got := readNewc(t, out.Bytes())
			if len(got) != len(list) {
				t.Fatalf("%d entries became %d", len(list), len(got))
			}
			parentsFirst(t, got)
			seen := map[string]bool{}
			for i, m := range got {
				checkMember(t, m, prefix)
				if seen[m.name] || m.name != list[i].name {
					t.Fatalf("%q is there twice or was %q", m.name, list[i].name)
				}
				seen[m.name] = true
			}
		}
	})
}

// checkMember: nothing leaves its place, and the kernel takes it.
func checkMember(t *testing.T, m member, prefix string) {
	t.Helper()
	top, _, _ := strings.Cut(prefix, "/")
	if path.Clean(m.name) != m.name || path.IsAbs(m.name) || m.name == ".." || strings.HasPrefix(m.name, "../") || strings.ContainsRune(m.name, 0) ||
		prefix != "" && m.name != top && !strings.HasPrefix(m.name, top+"/") || len(m.name) > maxPath+len(prefix) {
		t.Fatalf("name %q", m.name)
	}
	for c := range strings.SplitSeq(m.name, "/") {
		if len(c) > maxName {
			t.Fatalf("name %q", m.name)
		}
	}
	if m.mode&typeMask == typeLink && (m.data == "" || len(m.data) > maxPath) {
		t.Fatalf("%q points to %q", m.name, m.data)
	}
	if m.rdev[0] > maxMajor || m.rdev[1] > maxMinor {
		t.Fatalf("%q is device %v", m.name, m.rdev)
	}
}

// FuzzSquash: what cpio takes a squashfs takes too, and reads back as it was, also when the metadata came out of the cache.
func FuzzSquash(f *testing.F) {
	seedLayers(f)
	s, err := openStore(f.TempDir(), zstd.SpeedFastest)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, sp := folded(t, data, asPack)
		if tr == nil {
			return
		}
		list := append(dirEntries([]string{"p"}, 0), tr.entries("p/q")...)
		image := squashOf(t, s, content{entries: list, clamp: 1 << 31}, sp)
		r, err := squashfs.Open(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		if err := r.Walk(func(n *squashfs.Node) error {
			if n.Path != "" {
				got = append(got, n.Path)
			}
			_, err := io.Copy(io.Discard, n.Open())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			want = append(want, e.name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

// squashOf makes a squashfs of one component, whose description goes through JSON as in the cache.
func squashOf(t *testing.T, s *store, c content, sp *spill) []byte {
	t.Helper()
	var pack, image bytes.Buffer
	seg := segment{View: viewOf(c.entries)}
	if err := s.squash(t.Context(), &pack, c, sp, &seg); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(seg)
	if err != nil {
		t.Fatal(err)
	}
	var back segment
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{seg.Tree, seg.Inodes, seg.View}, []any{back.Tree, back.Inodes, back.View}, cmpopts.EquateEmpty()); d != "" {
		t.Fatal(d)
	}
	img, err := squashfs.Plan(squashEntries([]segment{back}), []squashfs.Pack{*back.Pack}, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	open := func(int) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(pack.Bytes())), nil }
	if _, err := img.WriteTo(t.Context(), &image, open); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

// FuzzInput: no YAML makes a build panic or hang, and what gets through has references and places for its files.
func FuzzInput(f *testing.F) {
	f.Add(smallYAML)
	f.Add("kernel: {image: x}\nvolumes: [{name: v}]\nservices: [{name: a, image: b, binds: [v:/v]}]\n")
	f.Add("kernel: {image: x}\nfiles: [{path: a/../b, source: c}, {path: d, directory: true}]\n")
	f.Add("a: &a [*a]\n")
	f.Add(aliases("[x]", ", "))
	f.Fuzz(func(t *testing.T, doc string) {
		start := time.Now()
		in := Input{Name: "w", YAML: []Source{{"f.yml", []byte(doc)}}, Arch: "amd64", Boot: []string{"bios"}, Images: shelf{}, Out: "none", Cache: "none"}
		refs, err := References(in)
		if err == nil && (len(refs) < 2 || slices.Contains(refs, "")) {
			t.Errorf("references %q", refs)
		}
		if problems, ok := err.(Problems); ok && len(problems) == 0 { //nolint:errorlint // References returns it as it is
			t.Error("refused without a reason")
		}
		if err != nil {
			return
		}
		c, err := load(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range c.Files {
			if name, err := filePath(file.Path); err != nil || name == ".." || strings.HasPrefix(name, "../") || path.IsAbs(name) {
				t.Errorf("file %q lands in %q, %v", file.Path, name, err)
			}
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// FuzzLabel: an image's label is refused or understood; nothing panics.
func FuzzLabel(f *testing.F) {
	f.Add(`{"capabilities":["all"],"runtime":{"mkdir":["/a"]}}`, "1:2")
	f.Add("binds: &b [/a:/b]\nmounts: [{type: bind, source: /a}]\nresources: {}\n", "x")
	f.Add("env: &e [*e]\n", "")
	f.Fuzz(func(t *testing.T, label, user string) {
		s := resolved{ref: "x/y:1"}
		s.config.Config.Entrypoint, s.config.Config.User = []string{"/a"}, user
		s.config.Config.Labels = map[string]string{mobyLabel: label}
		in := Input{Name: "w", YAML: []Source{{"f.yml", []byte("kernel: {image: k}\nservices: [{name: a, image: x}]\n")}}, Arch: "amd64", Boot: []string{"bios"}, Images: shelf{}, Out: "o", Cache: "c"}
		in, err := in.check()
		if err != nil {
			t.Fatal(err)
		}
		c, err := load(in)
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.bundles(map[string]resolved{"x": s})
		if err != nil {
			return
		}
		if _, err := list[0].entries(0); err != nil {
			t.Error(err)
		}
	})
}

func seedLayers(f *testing.F) {
	f.Helper()
	f.Add(tarOf(f, file{name: "a", body: "1"}, file{name: "d/"}, file{name: "d/.wh.x"}, file{name: "l->d"}, file{name: "h=>a"}, file{name: "l/x/y", body: "2"}))
	f.Add(tarOf(f, file{name: "\xff\n", body: "1", xattrs: map[string]string{"user.a": "b", "system.x": "y"}}, file{name: "d->/"}, file{name: "d/d/TRAILER"}))
	f.Add(headers(f, tar.Header{Name: "c", Typeflag: tar.TypeChar, Devmajor: 5}, tar.Header{Name: "f", Typeflag: tar.TypeFifo}))
	f.Add(ended(pax("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,0", "GNU.sparse.size", "9999"), block("a", '0', nil)))
	f.Add([]byte("not a tar"))
}

// repaired gives each tar header the checksum it should have, so that a changed byte is a changed field.
func repaired(data []byte) []byte {
	data = bytes.Clone(data)
	for at := int64(0); at+512 <= int64(len(data)); {
		b := data[at : at+512]
		copy(b[148:156], "        ")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		if sum == 8*' ' { // the end
			clear(b[148:156])
			at += 512
			continue
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		size, err := strconv.ParseUint(strings.Trim(string(b[124:136]), " \x00"), 8, 31)
		if err != nil {
			size = 0
		}
		at += 512 + align(int64(size), 512)
	}
	return data
}

// folded is the tree of a layer, nil when it is refused.
func folded(t *testing.T, data []byte, form format) (*tree, *spill) {
	t.Helper()
	sp, err := newSpill(t.TempDir(), form)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sp.Close() })
	sp.limit = longest
	tr := newTree(0)
	if tr.fold(context.Background(), bytes.NewReader(repaired(data)), 1, sp) != nil {
		return nil, nil
	}
	if err := sp.flush(); err != nil {
		t.Fatal(err)
	}
	return tr, sp
}
