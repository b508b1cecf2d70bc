package conformance

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/e2e/conformance/oracle"
	"github.com/lkv-io/lkv/e2e/conformance/unpack"
)

var update = flag.Bool("update", false, "write docs/conformance.md")

func newCaches(t testing.TB) oracle.Caches {
	t.Helper()
	c, err := oracle.NewCaches(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Copy(need(t, "LKV_CACHE", "the directory that make components fills")); err != nil {
		t.Fatal(err)
	}
	return c
}

func addAll(t testing.TB, c oracle.Caches, j job) {
	t.Helper()
	for ref, img := range j.images {
		if err := c.Add(ref, img); err != nil {
			t.Fatal(err)
		}
	}
}

// explain gives every difference its reason and returns the reasons. A difference without one fails.
func explain(t testing.TB, p Pair) map[string]bool {
	t.Helper()
	used := map[string]bool{}
next:
	for _, d := range Compare(p.LinuxKit, p.LKV) {
		for _, r := range Deviations {
			if r.match(d, p) {
				used[r.ID] = true
				continue next
			}
		}
		t.Error(d)
	}
	return used
}

// sound checks what holds for every lkv image whatever LinuxKit does.
func sound(t testing.TB, s Side) {
	t.Helper()
	if len(s.Lost) > 0 {
		t.Errorf("the kernel leaves out what lkv wrote: %q", s.Lost)
	}
	for p := range s.Names {
		if named(p, "gone-") {
			t.Errorf("/%s is there although the image removed it", p)
		}
	}
	for _, p := range s.Twice {
		if i := s.Find(p); strings.HasPrefix(p, "containers/") && (i == nil || !i.Is(unpack.Dir)) {
			t.Errorf("/%s comes twice", p)
		}
	}
}

// TestConformance builds every case with both and explains every difference. A deviation no case shows is stale.
func TestConformance(t *testing.T) {
	c := newCaches(t)
	addAll(t, c, job{images: shared(t)})
	shown := map[string]int{}
	var names []string
	for _, x := range cases {
		names = append(names, x.name)
		j := x.make(t)
		addAll(t, c, j)
		t.Run(x.name, func(t *testing.T) {
			p := j.build(t, c)
			sound(t, p.LKV)
			for id := range explain(t, p) {
				shown[id]++
			}
		})
	}
	for _, r := range Deviations {
		if shown[r.ID] == 0 {
			t.Errorf("no case shows the deviation %s any more: remove it, or add a case", r.ID)
		}
	}
	document(t, Document(names, shown))
}

// document keeps docs/conformance.md true.
func document(t *testing.T, want string) {
	t.Helper()
	const name = "../../docs/conformance.md"
	if *update && !t.Failed() {
		write(t, name, want)
	}
	if string(read(t, name)) != want && !t.Failed() {
		t.Errorf("%s is stale: go test -run TestConformance . -update", name)
	}
}

// TestComponents compares the images this project ships, as its own example uses them.
func TestComponents(t *testing.T) {
	const name = "../../specs/examples/docker-host/docker-host.yml"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p := job{yaml: []string{string(data)}}.build(t, newCaches(t))
	if len(p.LKV.Names) < 500 {
		t.Errorf("only %d names in %s", len(p.LKV.Names), name)
	}
	sound(t, p.LKV)
	explain(t, p)
}
