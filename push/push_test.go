package push

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPushOnceThenNothing(t *testing.T) {
	s := newMemory("dc1")
	in, sum := build(t, "v1", s)
	got, err := Push(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := []Result{{Image: "worker", Store: "dc1", Path: "[dc1] lkv/worker/" + sum + ".iso", SHA256: sum, BytesUploaded: 2, How: Uploaded, Verified: Full}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var moves []string
	for _, op := range s.ops {
		if strings.HasPrefix(op, "move") {
			moves = append(moves, op)
		}
	}
	order := []string{"move worker/" + sum + ".manifest.json", "move worker/" + sum + ".iso", "move worker/channels/latest.json"}
	if diff := cmp.Diff(order, moves); diff != "" {
		t.Errorf("the manifest comes first, the channel last:\n%s", diff)
	}
	s.ops = nil
	in.Nonce = "another"
	got, err = Push(t.Context(), in)
	if err != nil || got[0].How != Already || got[0].BytesUploaded != 0 || len(s.ops) > 0 {
		t.Errorf("second push: %v %+v, sent %v", err, got, s.ops)
	}
}

func TestChannelRemembers(t *testing.T) {
	s := newMemory("dc1")
	var sums []string
	for i, content := range []string{"v1", "v2", "v1"} {
		in, sum := build(t, content, s)
		in.Nonce, in.Now = string(rune('a'+i)), now.Add(time.Duration(i)*time.Hour)
		sums = append(sums, sum)
		if _, err := Push(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ReadChannel(t.Context(), s, "worker", "latest")
	want := Channel{Format: 1, Digest: sums[2], Time: now.Add(2 * time.Hour), Previous: []Move{{sums[1], now.Add(time.Hour)}, {sums[0], now}}}
	if diff := cmp.Diff(want, c); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for i := range 3 * keep {
		c = c.to(strings.Repeat(string("0123456789abcdef"[i%16]), 64), now)
	}
	if len(c.Previous) != keep {
		t.Errorf("a channel remembers %d moves", len(c.Previous))
	}
}

// leftovers returns the temporary names in a store, and every final name.
func (m *memory) names() (temporary, final []string) {
	for p := range m.files {
		if IsTemporary(p) {
			temporary = append(temporary, p)
		} else {
			final = append(final, p)
		}
	}
	return temporary, final
}

func TestFailuresLeaveNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*memory, *Input)
		want  string
	}{
		"interrupted":   {func(m *memory, _ *Input) { m.cut = 1000 }, "broken on purpose"},
		"wrong bytes":   {func(m *memory, _ *Input) { m.spoil = true }, "verify"},
		"full":          {func(m *memory, _ *Input) { m.free = defaultReserve }, "datastore is too full"},
		"no free space": {func(m *memory, _ *Input) { m.fail = failing("free") }, "read free space"},
		"unreadable":    {func(m *memory, _ *Input) { m.fail = failing("stat") }, "look for"},
		"no folder":     {func(m *memory, _ *Input) { m.fail = failing("mkdir") }, "make folder"},
		"no move":       {func(m *memory, _ *Input) { m.fail = failing("move") }, "into place"},
		"no list":       {func(m *memory, _ *Input) { m.fail = failing("list") }, "list"},
		"other ISO": {func(_ *memory, in *Input) {
			if err := os.WriteFile(in.ISO, bytes.Repeat([]byte("X"), 5000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "build the image again"},
		"shorter ISO": {func(_ *memory, in *Input) {
			if err := os.WriteFile(in.ISO, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "build the image again"},
		"no ISO":      {func(_ *memory, in *Input) { in.ISO += ".not" }, "run lkv build first"},
		"no manifest": {func(_ *memory, in *Input) { in.Manifest = nil }, "read manifest"},
		"bad channel": {func(_ *memory, in *Input) { in.Channel = "../latest" }, "channel name"},
		"bad image":   {func(_ *memory, in *Input) { in.Image = "a/b" }, "image name"},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := newMemory("bad"), newMemory("good")
			in, _ := build(t, strings.Repeat("v", 5000), bad, good)
			c.spoil(bad, &in)
			got, err := Push(t.Context(), in)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			bad.fail = nil
			for _, m := range []*memory{bad, good} {
				part, final := m.names()
				for _, f := range final {
					if m == bad && strings.HasSuffix(f, ".iso") || strings.Contains(f, "channels") {
						t.Errorf("%s has %s", m.name, f)
					}
				}
				if len(part) > 0 {
					t.Errorf("%s keeps %v", m.name, part)
				}
			}
			if slices.ContainsFunc(got, func(r Result) bool { return r.Store == "bad" }) {
				t.Errorf("result %+v", got)
			}
			if name == "full" && !errors.Is(err, ErrFull) {
				t.Errorf("%v is no ErrFull", err)
			}
		})
	}
}

func failing(op string) func(string, string) error {
	return func(o, _ string) error {
		if o == op {
			return errBroken
		}
		return nil
	}
}

// A process that dies leaves its temporary file. The next push of the same pusher removes it, other people's only
// when they are old, and nobody's that merely look alike.
func TestLeftovers(t *testing.T) {
	s := newMemory("dc1")
	in, sum := build(t, "v1", s)
	iso := "worker/" + sum + ".iso"
	mine, other, old := in.pusher().temporary(s, iso), pusher{"else", "n"}.temporary(s, iso), pusher{"gone", "n"}.temporary(s, iso)
	alike := []string{"worker/x.lkv-part-", "worker/x.lkv-part-0123456-1", "worker/notes.txt", "worker/y.lkv-part-0123abcd-99.iso"}
	s.dirs["worker"] = true
	in.Nonce = "the next run"
	for _, p := range append([]string{mine, other, old}, alike...) {
		s.files[p], s.times[p] = []byte("half"), now.Add(-time.Minute)
	}
	s.times[old] = now.Add(-25 * time.Hour)
	if _, err := Push(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for p, there := range map[string]bool{mine: false, old: false, other: true, alike[0]: true, alike[1]: true, alike[2]: true, alike[3]: true} {
		if _, ok := s.files[p]; ok != there {
			t.Errorf("%s: there %v, want %v", p, ok, there)
		}
	}
}

// Ctrl-C in the middle of an upload: the temporary file goes all the same.
func TestInterruptCleansUp(t *testing.T) {
	s := newMemory("dc1")
	in, _ := build(t, strings.Repeat("v", 1<<20), s)
	ctx, cancel := context.WithCancel(t.Context())
	in.Progress = func(p Progress) {
		if p.Phase == "upload" && p.Done > 0 {
			cancel()
		}
	}
	_, err := Push(ctx, in)
	part, final := s.names()
	if !errors.Is(err, context.Canceled) || len(part) > 0 || slices.ContainsFunc(final, func(f string) bool { return strings.HasSuffix(f, ".iso") }) {
		t.Errorf("%v; left %v and %v", err, part, final)
	}
}

// A file under the final name that is not the ISO may be what VMs boot from: it is not touched.
func TestDamagedISOIsNotOverwritten(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		verify  string
		fails   bool
	}{"short": {"v", Size, true}, "same size unread": {"xx", Size, false}, "same size read": {"xx", Full, true}, "right": {"v1", Full, false}} {
		s := newMemory("dc1")
		in, sum := build(t, "v1", s)
		in.Verify = c.verify
		s.dirs["worker"], s.files["worker/"+sum+".iso"] = true, []byte(c.content)
		_, err := Push(t.Context(), in)
		if (err != nil) != c.fails || string(s.files["worker/"+sum+".iso"]) != c.content {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two pushes of the same ISO at once: the later finds it in place, and both succeed.
func TestSomebodyElseWasFaster(t *testing.T) {
	s := newMemory("dc1")
	in, sum := build(t, "v1", s)
	s.fail = func(op, p string) error {
		if op == "move" && strings.HasSuffix(p, ".iso") {
			s.files[p], s.times[p] = []byte("v1"), now
		}
		return nil
	}
	got, err := Push(t.Context(), in)
	part, _ := s.names()
	if err != nil || got[0].How != Already || got[0].BytesUploaded != 2 || len(part) > 0 || string(s.files["worker/"+sum+".iso"]) != "v1" {
		t.Errorf("%v %+v %v", err, got, part)
	}
}

func TestReadManifest(t *testing.T) {
	s := newMemory("dc1")
	in, sum := build(t, "v1", s)
	if _, err := ReadManifest(t.Context(), s, "worker", sum); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none yet: %v", err)
	}
	if _, err := ReadChannel(t.Context(), s, "worker", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no channel yet: %v", err)
	}
	if _, err := Push(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(t.Context(), s, "worker", sum)
	if err != nil || m.ISO.SHA256 != sum {
		t.Errorf("%v %+v", err, m)
	}
	if ok, err := Present(t.Context(), s, "worker", m); err != nil || !ok {
		t.Errorf("present: %v %v", ok, err)
	}
	other := strings.Repeat("0", 64)
	s.files[ManifestPath("worker", other)] = s.files[ManifestPath("worker", sum)]
	if _, err := ReadManifest(t.Context(), s, "worker", other); err == nil || !strings.Contains(err.Error(), "describes ISO "+sum) {
		t.Errorf("another ISO's manifest: %v", err)
	}
	s.files[ChannelPath("worker", "latest")] = []byte(`{"format":2,"digest":"` + sum + `"}`)
	if _, err := ReadChannel(t.Context(), s, "worker", "latest"); err == nil {
		t.Error("a newer channel format was accepted")
	}
}

// Whatever single operation fails, no ISO is ever under its name without a manifest, no channel names an ISO that is
// not whole, and the next push repairs everything.
func TestAnyFailureIsRepaired(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		content := rapid.StringN(1, 200, 400).Draw(rt, "content")
		s := newMemory("dc1")
		in, sum := build(t, content, s)
		in.ISO = dir + "/x.iso"
		if err := os.WriteFile(in.ISO, []byte(content), 0o600); err != nil {
			rt.Fatal(err)
		}
		k, n := rapid.IntRange(1, 25).Draw(rt, "fails at"), 0
		dies := rapid.Bool().Draw(rt, "everything after fails too")
		s.fail = func(string, string) error {
			if n++; n == k || dies && n > k {
				return errBroken
			}
			return nil
		}
		_, err := Push(t.Context(), in)
		s.fail = nil
		iso, manifest := s.files[ISOPath("worker", sum)], s.files[ManifestPath("worker", sum)]
		if iso != nil && (manifest == nil || string(iso) != content) {
			rt.Fatalf("after %v: ISO %q, manifest %q", err, iso, manifest)
		}
		if c, cerr := ReadChannel(t.Context(), s, "worker", "latest"); cerr == nil && (c.Digest != sum || iso == nil) {
			rt.Fatalf("after %v: the channel names %s", err, c.Digest)
		}
		in.Nonce = "again"
		if _, err := Push(t.Context(), in); err != nil {
			rt.Fatal(err)
		}
		if part, final := s.names(); len(part) > 0 || len(final) != 3 {
			rt.Fatalf("left %v, have %v", part, final)
		}
	})
}

func FuzzReadChannel(f *testing.F) {
	f.Add([]byte(`{"format":1,"digest":"` + strings.Repeat("a", 64) + `","time":"2026-01-02T03:04:05Z","previous":[{"digest":"x","time":"2026-01-02T03:04:05Z"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newMemory("dc1")
		s.files[ChannelPath("worker", "latest")] = raw
		c, err := ReadChannel(context.Background(), s, "worker", "latest")
		if err == nil && (c.Format != channelFormat || !isDigest(c.Digest)) {
			t.Errorf("accepted %+v", c)
		}
	})
}
