package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/reconcile/plan"
)

func TestRefusalsAreCurrent(t *testing.T) {
	golden.Check(t, "../../docs/refusals.md", refusalReference())
}

// mentions returns the codes that stand in the module's Go files and scripts, in those of tests and in the others.
func mentions(t *testing.T) (said, tested map[plan.Code]bool) {
	t.Helper()
	said, tested = map[plan.Code]bool{}, map[plan.Code]bool{}
	code := regexp.MustCompile(`\bR(?:0[1-9]|1[0-9]|2[0-2])\b`)
	here := []string{"codes.go", "refusals.go", "refusals_test.go"}
	for _, dir := range []string{"../../reconcile", "../../cmd", "../../push"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			ext := filepath.Ext(path)
			if err != nil || e.IsDir() || ext != ".go" && ext != ".txtar" || slices.Contains(here, e.Name()) {
				return err
			}
			text, err := os.ReadFile(path)
			into := said
			if strings.HasSuffix(path, "_test.go") || ext == ".txtar" {
				into = tested
			}
			for _, line := range strings.Split(string(text), "\n") {
				line, _, _ = strings.Cut(line, "// ") // what is only spoken of does not count
				for _, c := range code.FindAllString(line, -1) {
					into[plan.Code(c)] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return said, tested
}

// Every code of the planner is in the reference; each is said somewhere and a test asserts it, or it comes with Swarm
// and nothing says it.
func TestEveryCodeIsReachable(t *testing.T) {
	source, err := os.ReadFile("../../reconcile/plan/codes.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes, documented []string
	for _, m := range regexp.MustCompile(`(?m)^\t(R[0-9]{2}) Code = "(R[0-9]{2})"`).FindAllStringSubmatch(string(source), -1) {
		if m[1] != m[2] {
			t.Errorf("%s is %q", m[1], m[2])
		}
		codes = append(codes, m[1])
	}
	said, tested := mentions(t)
	for _, r := range refusals {
		documented = append(documented, string(r.code))
		switch {
		case r.swarm && said[r.code]:
			t.Errorf("%s is said, and the reference says that it is not", r.code)
		case !r.swarm && !said[r.code]:
			t.Errorf("nothing says %s", r.code)
		case !r.swarm && !tested[r.code]:
			t.Errorf("no test asserts %s", r.code)
		case !r.swarm && (r.when == "" || r.clear == ""):
			t.Errorf("%s: nobody learns when it appears, or what clears it", r.code)
		}
	}
	if diff := cmp.Diff(codes, documented); diff != "" || len(codes) == 0 {
		t.Errorf("codes.go and the reference (-codes +reference):\n%s", diff)
	}
}
