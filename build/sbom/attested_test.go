package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func attestation(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/attestation.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFromSPDX(t *testing.T) {
	from := []string{"attestation"}
	want := Packages{Packages: []Package{
		{Name: "musl", Version: "1.2.5-r0", License: "MIT", PURL: "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20", FoundIn: from},
		{Name: "left-pad", Version: "1.3.0", License: "WTFPL", PURL: "pkg:npm/left-pad@1.3.0", FoundIn: from},
		{Name: "plain", Version: "7", FoundIn: from},
	}}
	var statement struct{ Predicate json.RawMessage }
	if err := json.Unmarshal(attestation(t), &statement); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"statement": attestation(t), "bare": statement.Predicate} {
		got, err := FromSPDX(bytes.NewReader(text))
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

// What this package writes it can read: nothing is lost that an attestation can carry.
func TestOwnDocumentsAreRead(t *testing.T) {
	d := document(t)
	var b bytes.Buffer
	if err := d.WriteSPDX(&b); err != nil {
		t.Fatal(err)
	}
	got, err := FromSPDX(&b)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, p := range got.Packages {
		have[p.key()] = p.License
	}
	for _, p := range d.content().packages {
		license, ok := have[p.key()]
		if !ok || license != expression(p.License) {
			t.Errorf("%s: %v, licence %q", p.key(), ok, license)
		}
	}
}

func TestFromSPDXRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":         {"", "unexpected end"},
		"not JSON":        {"<html>", "invalid character"},
		"not SPDX":        {`{"bomFormat":"CycloneDX"}`, `version ""`},
		"SPDX 3":          {`{"spdxVersion":"SPDX-3.0"}`, `version "SPDX-3.0"`},
		"other predicate": {`{"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`, "slsa.dev/provenance/v1"},
		"wrong shape":     {`{"spdxVersion":"SPDX-2.3","packages":{}}`, "cannot unmarshal object"},
		"deep":            {strings.Repeat(`[`, 100_000), "exceeded max depth"},
		"huge":            {strings.Repeat(" ", maxAttestation+1), "more than 67108864 bytes"},
	} {
		if _, err := FromSPDX(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
	broken := errors.New("broken")
	if _, err := FromSPDX(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzFromSPDX(f *testing.F) {
	f.Add(attestation(f))
	f.Add([]byte(`{"spdxVersion":"SPDX-2.2","packages":[{"name":"a"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := FromSPDX(bytes.NewReader(text))
		if err != nil {
			return
		}
		if d := cmp.Diff(p, Merge(p, p)); d != "" {
			t.Errorf("merging with itself changes it: %s", d)
		}
		d := Document{Name: "a.iso", Components: []Component{{Ref: "a", Packages: p}}}
		if err := errors.Join(d.WriteSPDX(io.Discard), d.WriteCycloneDX(io.Discard)); err != nil {
			t.Error(err)
		}
	})
}
