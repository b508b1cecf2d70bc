package push

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/manifest"
)

func TestPromote(t *testing.T) {
	list := behind("a", "a1", "a2")
	sums := pushed(t, []string{"v0", "v1"}, list...)
	p := Promotion{Image: "worker", Digest: sums[0], Channel: "stable", Stores: stores(list...), Owner: "ci", Nonce: "p", Now: now}
	if err := Promote(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	got, err := Channels(t.Context(), []string{"worker"}, p.Stores)
	want := []Position{}
	for _, c := range []struct {
		name string
		Channel
	}{
		{"latest", Channel{Format: 1, Digest: sums[1], Time: now.Add(time.Hour), Previous: []Move{{sums[0], now}}}},
		{"stable", Channel{Format: 1, Digest: sums[0], Time: now}},
	} {
		for _, s := range list {
			want = append(want, Position{"worker", c.name, s.name, c.Channel})
		}
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if d := Disagreements(got, p.Stores); len(d) > 0 {
		t.Errorf("%+v", d)
	}
	// One store lacks the ISO: no channel moves, not even where it could.
	delete(list[1].files, ISOPath("worker", sums[1]))
	p.Digest = sums[1]
	if err := Promote(t.Context(), p); err == nil || !strings.Contains(err.Error(), "store a2") || !strings.Contains(err.Error(), "push it first") {
		t.Errorf("missing on a2: %v", err)
	}
	if c, err := ReadChannel(t.Context(), list[0], "worker", "stable"); err != nil || c.Digest != sums[0] {
		t.Errorf("%v %+v", err, c)
	}
	for name, spoil := range map[string]func(*Promotion){
		"digest 0123": func(p *Promotion) { p.Digest = "0123" }, "image": func(p *Promotion) { p.Image = "" }, "channel": func(p *Promotion) { p.Channel = "a/b" },
	} {
		bad := p
		spoil(&bad)
		if err := Promote(t.Context(), bad); err == nil || !strings.Contains(err.Error(), strings.Fields(name)[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A store fails while channels are moved: the error says which have moved, and the list shows it.
func TestStoresThatDisagree(t *testing.T) {
	list := behind("a", "a1", "a2", "a3")
	pushed(t, []string{"v0"}, list...)
	in, sum := build(t, "v1", stores(list...)...)
	list[1].fail = func(op, p string) error {
		if op == "move" && strings.Contains(p, "channels") {
			return errBroken
		}
		return nil
	}
	_, err := Push(t.Context(), in)
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "moved on a1 and not on a2, a3") {
		t.Errorf("%v", err)
	}
	list[1].fail = nil
	delete(list[2].files, ChannelPath("worker", "latest"))
	got, err := Channels(t.Context(), []string{"worker"}, in.Stores)
	if d := Disagreements(got, in.Stores); err != nil || len(d) != 1 || d[0].Digests[0] != sum || len(d[0].Digests) != 2 || !slices.Equal(d[0].Missing, []string{"a3"}) {
		t.Errorf("%v %+v", err, d)
	}
	in.Nonce = "2"
	if _, err := Push(t.Context(), in); err != nil {
		t.Error(err)
	}
	for _, c := range list {
		c.finished(t, sum)
	}
}

// described adds SBOMs, provenance and signatures to a push.
func described(t *testing.T, in *Input) map[string]string {
	t.Helper()
	m, err := manifest.Read(bytes.NewReader(in.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(in.ISO, ".iso")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	texts := map[string]string{}
	for _, f := range []struct{ kind, ending string }{{"spdx", ".spdx.json"}, {"cyclonedx", ".cdx.json"}, {"provenance", ".provenance.json"}, {"kernel", ".vmlinuz"}} {
		text := `{"a":"` + f.kind + `"}`
		write(base+f.ending, text)
		sum := hashOf(text)
		m.Files = append(m.Files, manifest.Named{Kind: f.kind, Name: filepath.Base(base + f.ending), File: manifest.File{SHA256: sum, Size: int64(len(text))}})
		if f.kind != "kernel" {
			texts[f.ending] = text
		}
	}
	texts[".manifest.json.sig"] = "signature"
	texts[".provenance.dsse.json"] = `{"payload":"` + base64.StdEncoding.EncodeToString([]byte(texts[".provenance.json"])) + `"}`
	write(base+".manifest.json.sig", texts[".manifest.json.sig"])
	write(base+".provenance.dsse.json", texts[".provenance.dsse.json"])
	var raw bytes.Buffer
	if err := m.Write(&raw); err != nil {
		t.Fatal(err)
	}
	in.Manifest = raw.Bytes()
	return texts
}

func TestDocumentsGoBeforeTheManifest(t *testing.T) {
	s := behind("a", "a1")[0]
	in, sum := build(t, "v1", s)
	texts := described(t, &in)
	if _, err := Push(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for ending, text := range texts {
		if got := string(s.files["worker/"+sum+ending]); got != text {
			t.Errorf("%s: %q", ending, got)
		}
	}
	var moves []string
	for _, op := range s.ops {
		if name, ok := strings.CutPrefix(op, "move worker/"+sum); ok {
			moves = append(moves, name)
		}
	}
	want := []string{".spdx.json", ".cdx.json", ".provenance.json", ".provenance.dsse.json", ".manifest.json.sig", ".manifest.json", ".iso"}
	if diff := cmp.Diff(want, moves); diff != "" {
		t.Error(diff)
	}
	s.ops, in.Nonce = nil, "2"
	if _, err := Push(t.Context(), in); err != nil || len(s.ops) > 0 {
		t.Errorf("second push: %v %v", err, s.ops)
	}
	for p := range s.files { // all are known to Clean
		if _, _, ok := contentName(filepath.Base(p)); !ok && !strings.Contains(p, "channels") {
			t.Errorf("%s has no content name", p)
		}
	}
}

func TestDocumentsThatAreNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(base string, in *Input) error
		want  string
	}{
		"no SBOM":               {func(base string, _ *Input) error { return os.Remove(base + ".spdx.json") }, "read spdx"},
		"other SBOM":            {func(base string, _ *Input) error { return os.WriteFile(base+".cdx.json", nil, 0o600) }, "not the file that the manifest lists"},
		"no signature":          {func(base string, _ *Input) error { return os.Remove(base + ".manifest.json.sig") }, ""},
		"statement in envelope": {func(base string, _ *Input) error { return os.Remove(base + ".provenance.json") }, ""},
		"no kernel":             {func(base string, _ *Input) error { return os.Remove(base + ".vmlinuz") }, ""},
		"other envelope": {func(base string, _ *Input) error {
			return errors.Join(os.Remove(base+".provenance.json"), os.WriteFile(base+".provenance.dsse.json", []byte("{}"), 0o600))
		}, "read provenance"},
		"no envelope, statement": {func(base string, _ *Input) error {
			return errors.Join(os.Remove(base+".provenance.json"), os.Remove(base+".provenance.dsse.json"))
		}, "read provenance"},
		"name out of the folder": {func(_ string, in *Input) error {
			in.Manifest = bytes.ReplaceAll(in.Manifest, []byte(`"worker.spdx.json"`), []byte(`"../x.spdx.json"`))
			return nil
		}, "no file beside the ISO"},
		"signature is a folder": {func(base string, _ *Input) error {
			return errors.Join(os.Remove(base+".manifest.json.sig"), os.Mkdir(base+".manifest.json.sig", 0o700))
		}, "read signature"},
	} {
		s := newMemory("dc1")
		in, _ := build(t, "v1", s)
		described(t, &in)
		if err := c.spoil(strings.TrimSuffix(in.ISO, ".iso"), &in); err != nil {
			t.Fatal(err)
		}
		_, err := Push(t.Context(), in)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || len(s.ops) > 0) {
			t.Errorf("%s: %v, sent %v", name, err, s.ops)
		}
	}
}

func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"payload":"e30="}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e map[string]any
		if p := payload(raw); p != nil && json.Unmarshal(raw, &e) != nil {
			t.Errorf("a payload %q in what is no JSON", p)
		}
	})
}
