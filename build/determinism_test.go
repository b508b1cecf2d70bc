package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// bigShelf has an image of several frames and one with a file that is compressed as a stream.
func bigShelf(t testing.TB) shelf {
	t.Helper()
	s := aShelf(t)
	noise := func(seed, n int) string {
		b := make([]byte, n)
		x := uint32(seed)*2654435761 + 1
		for i := range b {
			if i%32 == 0 {
				x = x*1664525 + 1013904223
			}
			b[i] = byte(x >> 24)
		}
		return string(b)
	}
	var many []file
	for i := range 40 {
		many = append(many, file{name: fmt.Sprintf("usr/share/f%02d", i), body: noise(i, 300<<10)})
	}
	s["lkv/dhcp:1"] = imageOf(t, entrypoint("/dhcp"), append(many, file{name: "dhcp", body: "d", mode: 0o755}))
	s["ghcr.io/x/app:1"] = imageOf(t, entrypoint("/app"), []file{{name: "a", body: "a"}, {name: "app", body: noise(99, 17<<20), mode: 0o755}, {name: "z=>app"}})
	return s
}

const (
	hashEnv = "LKV_TEST_BUILD_HASH"
	rootEnv = "LKV_TEST_BUILD_ROOT"
)

func determined(t *testing.T, rootfs string) Input {
	t.Helper()
	s := bigShelf(t)
	for _, ref := range []string{"lkv/kernel:1", "lkv/boot:1"} {
		s[ref] = rootShelf(t)[ref]
	}
	in := smallInput(t, s)
	in.Rootfs, in.Also = rootfs, []string{alsoPair}
	in.Persist = []Persist{{Mount: "/var/lib/docker", Label: "docker"}}
	return in
}

// TestBuildElsewhere is no test of its own: TestDeterministic runs it in another process.
func TestBuildElsewhere(t *testing.T) {
	out := os.Getenv(hashEnv)
	if out == "" {
		return // only of use to TestDeterministic
	}
	in := determined(t, os.Getenv(rootEnv))
	for i := range 40 { // names that make a directory list the cache's in another order
		junk := filepath.Join(in.Cache, "segments", fmt.Sprintf("%064x.json", i*7919))
		if err := errors.Join(os.MkdirAll(filepath.Dir(junk), 0o755), os.WriteFile(junk, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := mustBuild(t, in).Manifest.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDeterministic builds with one core and with several, in another time zone, locale and directory, as another user,
// with another umask and another order of names in directories, with a cold and a warm cache: always the same bytes.
func TestDeterministic(t *testing.T) {
	for _, rootfs := range []string{rootInitrd, rootSquashfs} {
		t.Run(rootfs, func(t *testing.T) { deterministic(t, rootfs) })
	}
}

func deterministic(t *testing.T, rootfs string) {
	in := determined(t, rootfs)
	first := mustBuild(t, in)
	in.Out = t.TempDir()
	warm := mustBuild(t, in)
	if d := cmp.Diff(first.Manifest, warm.Manifest); d != "" || warm.Cached {
		t.Errorf("warm cache differs (cached %v):\n%s", warm.Cached, d)
	}
	var want bytes.Buffer
	if err := first.Manifest.Write(&want); err != nil {
		t.Fatal(err)
	}
	for _, env := range [][]string{{"GOMAXPROCS=1", "TZ=Asia/Kathmandu"}, {"GOMAXPROCS=7", "LC_ALL=tr_TR.UTF-8", "TZ=America/Caracas"}} {
		env = append(env, rootEnv+"="+rootfs)
		if d := cmp.Diff(want.String(), buildElsewhere(t, env)); d != "" {
			t.Errorf("%v: %s", env, d)
		}
	}
	if rootfs != rootInitrd {
		return
	}
	list := readNewc(t, inflate(t, initrdOf(t, first.ISO)))
	parentsFirst(t, list)
	if got := bodies(list)["containers/services/app/lower/app"]; len(got) != 17<<20 {
		t.Errorf("the streamed file has %d bytes", len(got))
	}
}

// buildElsewhere runs TestBuildElsewhere in another directory, as nobody when this is root, and returns its manifest.
func buildElsewhere(t *testing.T, env []string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "elsewhere-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "program")
	out := filepath.Join(dir, "manifest")
	cmd := exec.Command("/bin/sh", "-c", `umask 077; exec "$0" -test.run='^TestBuildElsewhere$'`, program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, hashEnv+"="+out, "TMPDIR="+dir, "HOME="+dir)...)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	data, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.WriteFile(program, data, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// segmentEvents builds and returns which segments were made and which came from the cache.
func segmentEvents(t *testing.T, in Input) (made, cached []string) {
	t.Helper()
	in.Progress = func(e Event) {
		if e.Step == "segment" && e.Cached {
			cached = append(cached, e.Name)
		} else if e.Step == "segment" {
			made = append(made, e.Name)
		}
	}
	mustBuild(t, in)
	return made, cached
}

// TestOnlyTheChangedSegment: a new version of one image, or of the YAML, costs that piece and the generated ones.
func TestOnlyTheChangedSegment(t *testing.T) {
	s := aShelf(t)
	in := smallInput(t, s)
	if made, cached := segmentEvents(t, in); len(made) != 9 || len(cached) != 0 {
		t.Fatalf("first build: made %q, cached %q", made, cached)
	}
	s["ghcr.io/x/app:1"] = imageOf(t, entrypoint("/app"), []file{{name: "app", body: "app v2", mode: 0o755}})
	made, cached := segmentEvents(t, in)
	if d := cmp.Diff([]string{"services/app ghcr.io/x/app:1", "containers", "lkv"}, made); d != "" || len(cached) != 6 {
		t.Errorf("new image: cached %q, made %s", cached, d)
	}
	in.YAML = []Source{{"worker.yml", []byte(strings.Replace(smallYAML, "contents: hello", "contents: bye", 1))}}
	made, _ = segmentEvents(t, in)
	if d := cmp.Diff([]string{"files", "lkv"}, made); d != "" {
		t.Errorf("new file: %s", d)
	}
	s["lkv/init:1"] = imageOf(t, nil, []file{{name: "init", body: "init v2"}, {name: "bin/"}, {name: "bin/sh", body: "#!", mode: 0o755}})
	made, _ = segmentEvents(t, in)
	if d := cmp.Diff([]string{"init[0] lkv/init:1", "lkv"}, made); d != "" {
		t.Errorf("new init: %s", d)
	}
	in.Compress = "fastest"
	if made, _ = segmentEvents(t, in); len(made) != 9 {
		t.Errorf("new level: made %q", made)
	}
}

// TestRebuildIsCached: the same input gives the same ISO without work, anything else does not.
func TestRebuildIsCached(t *testing.T) {
	s := aShelf(t)
	in := smallInput(t, s)
	src := filepath.Join(t.TempDir(), "motd")
	write := func(text string) {
		if err := os.WriteFile(src, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	in.YAML = []Source{{"worker.yml", []byte(smallYAML)}, {src + ".yml", []byte("files: [{path: etc/src, source: motd}]\n")}}
	first := mustBuild(t, in)
	for name, c := range map[string]struct {
		change func(in *Input)
		want   bool
	}{
		"nothing":     {func(*Input) {}, true},
		"persist":     {func(in *Input) { in.Persist = []Persist{{Mount: "/var/x", Label: "x"}} }, false},
		"cmdline":     {func(in *Input) { in.YAML = append(in.YAML, Source{"b.yml", []byte("kernel: {cmdline: quiet}\n")}) }, false},
		"epoch":       {func(in *Input) { in.Epoch = created }, true},
		"later epoch": {func(in *Input) { in.Epoch = created.AddDate(1, 0, 0) }, false},
		"image": {func(in *Input) {
			n := shelf{}
			for k, v := range s {
				n[k] = v
			}
			n["lkv/dhcp:1"] = imageOf(t, entrypoint("/dhcp"), []file{{name: "dhcp", body: "new", mode: 0o755}})
			in.Images = n
		}, false},
		"ISO gone": {func(in *Input) {
			if err := os.Remove(first.ISO); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			mustBuild(t, in)
			changed := in
			changed.YAML = append([]Source(nil), in.YAML...)
			c.change(&changed)
			if r := mustBuild(t, changed); r.Cached != c.want {
				t.Errorf("cached = %v, want %v", r.Cached, c.want)
			}
		})
	}
	mustBuild(t, in)
	write("two")
	r := mustBuild(t, in)
	if r.Cached || bodies(readNewc(t, inflate(t, initrdOf(t, r.ISO))))["etc/src"] != "two" {
		t.Error("a changed source file did not reach the image")
	}
}

// TestDamagedCacheHeals flips one byte in every cached file: the next build still gives the right ISO.
func TestDamagedCacheHeals(t *testing.T) {
	in := smallInput(t, aShelf(t))
	want := mustBuild(t, in).Manifest.ISO.SHA256
	damageCache(t, in.Cache, "*")
	in.Out = t.TempDir()
	if got := mustBuild(t, in).Manifest.ISO.SHA256; got != want {
		t.Errorf("sha256 %s, want %s", got, want)
	}
}

// damageCache flips one byte in the middle of every cached file with such a name.
func damageCache(t *testing.T, dir, pattern string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "segments", pattern))
	if err != nil || len(list) < 5 {
		t.Fatalf("%d files in the cache, %v", len(list), err)
	}
	for _, p := range list {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			continue
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFrames: cut loses and moves nothing, and no frame but a big file's exceeds what memory is counted for.
func TestFrames(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOf(rapid.SampledFrom([]int64{0, 1, 5000, 1 << 20, frameSize, bigFile - 1, bigFile, 1 << 31})).Draw(rt, "sizes")
		var list []record
		for i, n := range sizes {
			list = append(list, record{name: fmt.Sprint(i), ino: &inode{mode: typeReg}, size: n})
		}
		var back []string
		for _, f := range cut(list) {
			var n int64
			for _, r := range f {
				back = append(back, r.name)
				n += r.length()
			}
			if len(f) == 0 || (!f.big() && n > frameSize+bigFile+512) {
				rt.Fatalf("frame of %d records, %d bytes", len(f), n)
			}
		}
		if len(back) != len(list) {
			rt.Fatalf("%d of %d records", len(back), len(list))
		}
		for i, n := range back {
			if n != fmt.Sprint(i) {
				rt.Fatalf("record %s at place %d", n, i)
			}
		}
	})
}

// TestSegmentsNeverShareInodes: hard links are joined by device and inode over the whole initrd.
func TestSegmentsNeverShareInodes(t *testing.T) {
	s := aShelf(t)
	linked := func(body string) []file { // the same names, so the same inode numbers
		return []file{{name: "dhcp", body: body, mode: 0o755}, {name: "same=>dhcp"}}
	}
	s["lkv/dhcp:1"] = imageOf(t, entrypoint("/dhcp"), linked("x"))
	s["ghcr.io/x/app:1"] = imageOf(t, entrypoint("/dhcp"), linked("y"))
	r := mustBuild(t, smallInput(t, s))
	groups := map[string]int{}
	for _, m := range readNewc(t, inflate(t, initrdOf(t, r.ISO))) {
		if m.nlink > 1 && m.mode&typeMask == typeReg {
			groups[fmt.Sprint(m.dev, m.ino)]++
		}
	}
	if len(groups) != 2 {
		t.Errorf("hard link groups %v, want two", groups)
	}
	for g, n := range groups {
		if n != 2 {
			t.Errorf("group %s has %d names", g, n)
		}
	}
}

// TestCodecMatchesModule keeps the cache key's codec in step with go.mod: another compressor writes other bytes.
func TestCodecMatchesModule(t *testing.T) {
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := "github.com/klauspost/compress " + strings.TrimPrefix(codec, "klauspost-zstd-") + "\n"
	if !strings.Contains(string(data), want) {
		t.Errorf("go.mod has another klauspost/compress than codec %q: raise codec", codec)
	}
}

// TestClamp: no file is younger than the epoch, or than its image when there is none, and none older than 1970.
func TestClamp(t *testing.T) {
	s := aShelf(t)
	times := map[string]int64{"old": -5, "fit": created.Unix() - 10, "young": created.Unix() + 10}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"fit", "old", "young"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, ModTime: time.Unix(times[name], 0), Format: tar.FormatPAX}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s["lkv/runc:1"] = oneLayer{imageOf(t, nil, nil), layerOf(t, b.Bytes())}
	in := smallInput(t, s)
	for _, epoch := range []time.Time{{}, created.Add(-time.Minute), created.Add(time.Hour)} {
		in.Epoch = epoch
		clamp := epoch.Unix()
		if epoch.IsZero() {
			clamp = created.Unix()
		}
		want := map[string]int64{"old": 0, "fit": min(times["fit"], clamp), "young": min(times["young"], clamp)}
		got := map[string]int64{}
		for _, m := range readNewc(t, inflate(t, initrdOf(t, mustBuild(t, in).ISO))) {
			if _, ok := want[m.name]; ok {
				got[m.name] = m.mtime
			}
			if m.mtime > clamp {
				t.Errorf("%s is younger than %d: %d", m.name, clamp, m.mtime)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("epoch %v: %s", epoch, d)
		}
	}
}
