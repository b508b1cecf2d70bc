package provenance

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lkv-io/lkv/internal/golden"
)

func example() Build {
	sum := func(c string) string { return strings.Repeat(c, 64) }
	return Build{
		Builder: "https://ci.test/runner", Version: "1.2.3",
		Parameters: Parameters{Image: "worker", Arch: "amd64", Boot: []string{"bios", "uefi"}, Rootfs: "initrd", Compress: "default", Epoch: 1700000000},
		Outputs:    []Resource{File("", "worker-000000000000.iso", sum("0")), File("", "worker-000000000000.spdx.json", sum("1"))},
		Inputs: []Resource{
			File("yaml", "worker.yml", sum("2")),
			Image("kernel", "lkv/kernel:1", "lkv/kernel:1", "sha256:"+sum("3")),
			Image("service", "dhcp", "registry.test:5000/dhcp:1@sha256:"+sum("4"), "sha256:"+sum("4")),
			File("boot", "isolinux.bin", sum("5")),
		},
	}
}

func written(t testing.TB, s Statement) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStatement(t *testing.T) {
	text := written(t, example().Statement())
	golden.Check(t, "testdata/provenance.json", string(text))
	if !bytes.Equal(text, written(t, example().Statement())) {
		t.Error("two writes differ")
	}
	got, err := Parse(text)
	if d := cmp.Diff(example().Statement(), got); err != nil || d != "" {
		t.Error(err, d)
	}
	if !got.Names(strings.Repeat("1", 64)) || got.Names(strings.Repeat("3", 64)) || got.Names("") {
		t.Error("it names something else than its outputs")
	}
}

// in-toto's own types take the statement, with every field known, and find it valid.
func TestInTotoAgrees(t *testing.T) {
	for name, b := range map[string]Build{"whole": example(), "bare": {Builder: "x:y", Outputs: example().Outputs}} {
		var st intoto.Statement
		if err := protojson.Unmarshal(written(t, b.Statement()), &st); err != nil {
			t.Fatal(err)
		}
		if err := st.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		predicate, err := protojson.Marshal(st.GetPredicate())
		if err != nil {
			t.Fatal(err)
		}
		var p slsa.Provenance
		if err := protojson.Unmarshal(predicate, &p); err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	wrong := example().Statement()
	wrong.PredicateType = "https://spdx.dev/Document"
	about := example().Statement()
	about.Subject = nil
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":   {"", "unexpected end"},
		"not JSON":  {"<html>", "invalid character"},
		"no type":   {"{}", `type "" with predicate ""`},
		"an SBOM":   {string(written(t, wrong)), "this is no SLSA provenance v1"},
		"about air": {string(written(t, about)), "about nothing"},
		"deep":      {strings.Repeat("[", 100_000), "exceeded max depth"},
	} {
		if _, err := Parse([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(written(f, example().Statement()))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err == nil && (len(s.Subject) == 0 || s.PredicateType != PredicateType) {
			t.Errorf("accepted %+v", s)
		}
		if err == nil && !json.Valid(written(t, s)) {
			t.Error("not JSON")
		}
	})
}
