package specs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestRegistryPage loads the example of docs/images.md: what people copy must work and mean what the page says.
func TestRegistryPage(t *testing.T) {
	text, err := os.ReadFile("../docs/images.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatal("the page shows no HCL")
	}
	path := filepath.Join(t.TempDir(), "lkv.hcl")
	if err := os.WriteFile(path, found[1], 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Registry{
		{Pattern: "ghcr.io/acme/*", Mirrors: []string{"mirror.example.net:5000/ghcr"}, Insecure: []string{"mirror.example.net:5000"}, CosignKeys: []string{"cosign.pub"}},
		{Pattern: "docker.io/library/*", Mirrors: []string{"hub.example.net"}},
	}
	if d := cmp.Diff(want, s.Registries, cmpopts.IgnoreFields(Registry{}, "Pos")); d != "" {
		t.Error(d)
	}
}

func TestRegistryHosts(t *testing.T) {
	for host, want := range map[string]bool{
		"ghcr.io": true, "mirror.example.net:5000": true, "localhost": true, "localhost:5000": true, "10.0.0.1:5000": true, "registry:5000": true,
		"": false, "registry": false, "ghcr.io/": false, "https://ghcr.io": false, "GHCR.io": false, "-x.io": false, "a..b": false, "x.io:port": false,
	} {
		if registryHost(host) != want {
			t.Errorf("%q: %v, want %v", host, !want, want)
		}
	}
}
