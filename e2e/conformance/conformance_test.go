package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/e2e/conformance/oracle"
	"github.com/lkv-io/lkv/e2e/conformance/unpack"
)

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

// explain gives every difference its reason, and fails for those without.
func explain(t testing.TB, p Pair, used map[string]int) {
	t.Helper()
next:
	for _, d := range Compare(p.LinuxKit, p.LKV) {
		for _, r := range Deviations {
			if r.match(d, p) {
				used[r.ID]++
				continue next
			}
		}
		t.Error(d)
	}
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
	used := map[string]int{}
	for _, x := range cases {
		j := x.make(t)
		addAll(t, c, j)
		t.Run(x.name, func(t *testing.T) {
			p := j.build(t, c)
			sound(t, p.LKV)
			explain(t, p, used)
		})
	}
	for _, r := range Deviations {
		if used[r.ID] == 0 {
			t.Errorf("no case shows the deviation %s any more: remove it, or add a case", r.ID)
		}
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
	explain(t, p, map[string]int{})
}
