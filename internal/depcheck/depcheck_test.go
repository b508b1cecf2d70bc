// Package depcheck holds the tests of the project's import rules and of what only cmd may call.
// The rules are those of the architecture: who may see which outside world.
package depcheck

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lkv-io/lkv/"

// pkg is what `go list -json` says of one package.
type pkg struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
	Standard        bool
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,GoFiles,Imports,Standard"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// owners lists, for each outside world, the directories of this module that may import it.
var owners = map[string][]string{
	"github.com/vmware/govmomi":              {"reconcile/vsphere", "internal/lab"},
	"github.com/hashicorp/hcl/v2":            {"specs"},
	"github.com/linuxkit/linuxkit":           {"build"},
	"github.com/google/go-containerregistry": {"images", "build"},
	"github.com/urfave/cli":                  {"cmd"},
	"github.com/moby/moby/client":            {"reconcile/swarm"},
	"github.com/containers/gvisor-tap-vsock": {"internal/lab"},
	"github.com/vmware/vmw-guestinfo":        {"cmd/lkv-guest"},
	module + "internal/lab":                  {"cmd/lkv", "e2e", "internal/lab"},
	module + "cmd/lkv-guest":                 {"cmd/lkv-guest"},
}

// strangers never import one another: cmd passes values between them.
var strangers = []string{"build", "push", "reconcile"}

func within(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
}

func TestArrows(t *testing.T) {
	for _, p := range list(t, "./...") {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			for world, dirs := range owners {
				if within(imp, world) && !within(from, dirs...) {
					t.Errorf("%s -> %s: only %s may import it", from, imp, strings.Join(dirs, ", "))
				}
			}
			to := strings.TrimPrefix(imp, module)
			for _, a := range strangers {
				for _, b := range strangers {
					if a != b && within(from, a) && within(to, b) && imp != to {
						t.Errorf("%s -> %s: %s and %s do not know each other", from, imp, a, b)
					}
				}
			}
		}
	}
}

func TestPlannerImportsTheStandardLibraryOnly(t *testing.T) {
	for _, p := range list(t, "-deps", "./reconcile/plan") {
		if !p.Standard && p.ImportPath != module+"reconcile/plan" {
			t.Errorf("reconcile/plan -> ... -> %s: the planner imports the standard library only", p.ImportPath)
		}
	}
}

// forbidden names calls that only cmd makes; everybody else is given the value.
var forbidden = map[string]bool{
	"os.Exit": true, "log.Fatal": true, "log.Fatalf": true, "os.Getenv": true, "os.LookupEnv": true, "os.Environ": true, "time.Now": true,
	"rand.Int": true, "rand.IntN": true, "rand.Read": true, "uuid.New": true, "uuid.NewString": true,
}

func TestOnlyCmdAsksTheWorld(t *testing.T) {
	for _, p := range list(t, "./...") {
		from := strings.TrimPrefix(p.ImportPath, module)
		if !within(from, "specs", "images", "build", "push", "reconcile", "internal/ui", "internal/manifest", "internal/report") {
			continue // cmd asks for us; lab and qemu are an outside world themselves
		}
		for _, file := range p.GoFiles {
			checkCalls(t, filepath.Join(p.Dir, file), from+"/"+file)
		}
	}
}

func checkCalls(t *testing.T, path, name string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && forbidden[x.Name+"."+sel.Sel.Name] {
			t.Errorf("%s:%d: %s.%s: only cmd may; take the value as an argument", name, fset.Position(n.Pos()).Line, x.Name, sel.Sel.Name)
		}
		return true
	})
}
