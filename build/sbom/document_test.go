package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
	"github.com/xeipuuv/gojsonschema"
	"pgregory.net/rapid"

	"github.com/lkv-io/lkv/internal/golden"
)

func document(t testing.TB) Document {
	t.Helper()
	attested, err := FromSPDX(bytes.NewReader(attestation(t)))
	if err != nil {
		t.Fatal(err)
	}
	debian, alpine := scanned(t, "debian"), Merge(scanned(t, "alpine"), attested)
	sum := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	return Document{
		Name: "worker-0123456789ab.iso", SHA256: strings.Repeat("0", 64), Size: 4096, Created: time.Unix(1700000000, 0), Version: "1.2.3",
		Components: []Component{
			{Section: "kernel", Name: "lkv/kernel:1", Ref: "lkv/kernel:1", Digest: sum("a"), Packages: debian},
			{Section: "onboot", Name: "dhcp", Ref: "registry.test:5000/lkv/dhcp:v2@" + sum("b"), Digest: sum("b"), Packages: alpine},
			{Section: "service", Name: "dhcp-again", Ref: "registry.test:5000/lkv/dhcp:v2@" + sum("b"), Digest: sum("b"), Packages: alpine},
			{Section: "service", Name: "tools", Ref: "lkv/tools", Digest: sum("c"), Packages: scanned(t, "debian")},
		},
	}
}

func TestDocuments(t *testing.T) {
	spdx, cyclone := check(t, document(t))
	golden.Check(t, "testdata/document.spdx", string(spdx))
	golden.Check(t, "testdata/document.cdx", string(cyclone))
}

// check writes both formats twice and gives them to other people's readers and schemas. It returns the bytes.
func check(t rapid.TB, d Document) (spdx, cyclone []byte) {
	t.Helper()
	var out [2][2]bytes.Buffer
	for i := range 2 {
		if err := d.WriteSPDX(&out[0][i]); err != nil {
			t.Fatal(err)
		}
		if err := d.WriteCycloneDX(&out[1][i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range out {
		if !bytes.Equal(out[i][0].Bytes(), out[i][1].Bytes()) {
			t.Fatal("two writes differ")
		}
	}
	checkSPDX(t, out[0][0].Bytes())
	checkCycloneDX(t, out[1][0].Bytes())
	return out[0][0].Bytes(), out[1][0].Bytes()
}

var spdxID = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// checkSPDX reads a document with SPDX's own library and checks what that leaves to its users.
func checkSPDX(t rapid.TB, text []byte) {
	t.Helper()
	doc, err := spdxjson.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil { // every relationship leads somewhere
		t.Fatal(err)
	}
	if described, err := spdxlib.GetDescribedPackageIDs(doc); err != nil || len(described) != 1 || described[0] != isoID {
		t.Fatalf("describes %v, %v", described, err)
	}
	seen, held := map[string]bool{}, map[string]bool{isoID: true}
	for _, r := range doc.Relationships {
		held[string(r.RefB.ElementRefID)] = true
	}
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if seen[id] || !held[id] || !spdxID.MatchString(id) || p.PackageName == "" || p.PackageDownloadLocation == "" || p.FilesAnalyzed {
			t.Fatalf("package %+v", p)
		}
		seen[id] = true
	}
	for _, f := range doc.Files {
		id := string(f.FileSPDXIdentifier)
		if seen[id] || !held[id] || len(f.Checksums) != 2 || len(f.Checksums[0].Value) != 40 || len(f.Checksums[1].Value) != 64 {
			t.Fatalf("file %+v", f)
		}
		seen[id] = true
	}
}

// schema is CycloneDX's own, as it lies beside its library's source.
var schema = sync.OnceValues(func() (*gojsonschema.Schema, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		return nil, err
	}
	base := "file://" + filepath.Join(strings.TrimSpace(string(dir)), "schema") + "/"
	all := gojsonschema.NewSchemaLoader()
	for name, file := range map[string]string{"spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		if err := all.AddSchema("http://cyclonedx.org/schema/"+name, gojsonschema.NewReferenceLoader(base+file)); err != nil {
			return nil, err
		}
	}
	return all.Compile(gojsonschema.NewReferenceLoader(base + "bom-1.6.schema.json"))
})

func checkCycloneDX(t rapid.TB, text []byte) {
	t.Helper()
	s, err := schema()
	if err != nil {
		t.Fatalf("load the CycloneDX schema: %v", err)
	}
	result, err := s.Validate(gojsonschema.NewBytesLoader(text))
	if err != nil || !result.Valid() {
		t.Fatalf("%v: %v", err, result.Errors())
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{isoID: true}
	for _, c := range some(bom.Components) {
		if known[c.BOMRef] {
			t.Fatalf("%s is there twice", c.BOMRef)
		}
		known[c.BOMRef] = true
	}
	held := map[string]bool{isoID: true}
	for _, dep := range some(bom.Dependencies) {
		for _, ref := range append(some(dep.Dependencies), dep.Ref) {
			held[ref] = true
		}
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(held))); d != "" {
		t.Fatalf("components and dependencies do not agree: %s", d)
	}
}

func some[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

// The schema test can fail.
func TestTheSchemaRefuses(t *testing.T) {
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Validate(gojsonschema.NewStringLoader(`{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"x"}`))
	if err != nil || result.Valid() {
		t.Errorf("a document with a wrong serial number is valid (%v)", err)
	}
}

// Whatever the images hold, both documents are well-formed and the same each time.
func TestAnyPackagesMakeDocuments(t *testing.T) {
	word := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "MIT", "MIT OR", "(", "v1.0", "x y", "\u2028", "a/b", "../..", "sha256:"}), rapid.String())
	pkg := rapid.Custom(func(t *rapid.T) Package {
		name, version := word.Draw(t, "name"), word.Draw(t, "version")
		return Package{Name: name, Version: version, License: word.Draw(t, "license"), PURL: purl(rapid.SampledFrom([]string{"deb", "golang", ""}).Draw(t, "type"), word.Draw(t, "namespace"), name, version, nil), FoundIn: []string{word.Draw(t, "found")}}
	})
	component := rapid.Custom(func(t *rapid.T) Component {
		p := Packages{Packages: rapid.SliceOfN(pkg, 0, 5).Draw(t, "packages")}
		if rapid.Bool().Draw(t, "program") {
			p.Programs = []Unclaimed{{Path: word.Draw(t, "path"), SHA256: strings.Repeat("0", 64), SHA1: strings.Repeat("1", 40)}}
		}
		if rapid.Bool().Draw(t, "system") {
			p.OS = &OS{ID: word.Draw(t, "ID"), Name: word.Draw(t, "OS")}
		}
		return Component{Section: "service", Name: word.Draw(t, "service"), Ref: word.Draw(t, "ref"), Digest: word.Draw(t, "digest"), Packages: p}
	})
	rapid.Check(t, func(t *rapid.T) {
		check(t, Document{Name: word.Draw(t, "iso"), Version: word.Draw(t, "lkv"), Components: rapid.SliceOfN(component, 0, 4).Draw(t, "components")})
	})
}

// Names that shall be unique for each content are, and are UUIDs of version 5.
func TestSerialNumbers(t *testing.T) {
	seen := map[string]bool{}
	a := document(t)
	b, c := a, a
	b.Created = b.Created.Add(time.Second)
	c.Components = slices.Clone(c.Components)[:2]
	for _, d := range []Document{a, b, c} {
		for _, format := range []string{"spdx", "cyclonedx"} {
			s, err := d.uuid(format)
			id, err2 := uuid.Parse(s)
			if err != nil || err2 != nil || id.Version() != 5 || seen[s] {
				t.Errorf("%s: %v %v, version %d, seen %v", s, err, err2, id.Version(), seen[s])
			}
			seen[s] = true
		}
	}
}

func TestImagesAreListedOnce(t *testing.T) {
	var doc struct {
		Packages []struct{ Name, Comment string }
	}
	spdx, _ := check(t, document(t))
	if err := json.Unmarshal(spdx, &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range doc.Packages {
		if p.Comment != "" {
			got = append(got, p.Name+": "+p.Comment)
		}
	}
	want := []string{
		"lkv/kernel: used as kernel lkv/kernel:1; 5 of 8 regular files belong to no package",
		"registry.test:5000/lkv/dhcp: used as onboot dhcp, service dhcp-again; 1 of 4 regular files belong to no package",
		"lkv/tools: used as service tools; 5 of 8 regular files belong to no package",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestImageURL(t *testing.T) {
	for ref, want := range map[string]string{
		"lkv/kernel:1":                "pkg:oci/kernel@sha256%3A0?repository_url=lkv%2Fkernel&tag=1",
		"registry.test:5000/a/B":      "pkg:oci/b@sha256%3A0?repository_url=registry.test%3A5000%2Fa%2FB",
		"registry.test:5000/a:t@sha:": "pkg:oci/a@sha256%3A0?repository_url=registry.test%3A5000%2Fa&tag=t",
		"":                            "",
	} {
		if got := (Component{Ref: ref, Digest: "sha256:0"}).purl(); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

func TestExpression(t *testing.T) {
	for license, want := range map[string]string{
		"": "", "MIT": "MIT", "GPL-2.0-only  AND (MIT OR Zlib)": "GPL-2.0-only AND (MIT OR Zlib)", "GPL-2.0-or-later WITH Classpath-exception-2.0": "GPL-2.0-or-later WITH Classpath-exception-2.0",
		"MIT BSD": "", "MIT,BSD": "", "free, as in beer": "", "AND": "", "MIT OR": "", "(MIT": "", "MIT AND MIT)": "", "Apache-2.0+": "Apache-2.0+",
	} {
		if got := expression(license); got != want {
			t.Errorf("%q: %q, want %q", license, got, want)
		}
	}
}

func ExampleDocument_WriteSPDX() {
	var b strings.Builder
	d := Document{Name: "worker.iso", SHA256: strings.Repeat("0", 64), Created: time.Unix(0, 0)}
	if err := d.WriteSPDX(&b); err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.Count(b.String(), "SPDXRef-ISO"))
	// Output: 2
}
