package specs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/golden"
)

func loadWhole(t *testing.T) Spec {
	t.Helper()
	s, err := Load("testdata/whole.hcl", Options{Env: map[string]string{
		"VCENTER_URL": "https://lkv:hunter2@vc.example.net/sdk", "WEBHOOK": "https://hook.example.net/hunter2",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The whole language, as the values it means.
func TestWholeLanguage(t *testing.T) {
	b, err := json.MarshalIndent(loadWhole(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/whole.golden.json", string(b)+"\n")
}

// What one version cannot do is named with its place, so that no run ignores it.
func TestUnsupportedNamesEveryFeature(t *testing.T) {
	var b strings.Builder
	for _, f := range loadWhole(t).Fleets {
		for _, p := range f.Unsupported() {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, p)
		}
	}
	golden.Check(t, "testdata/whole.unsupported.golden", b.String())
}

func TestSecretsAreRevealedButNeverPrinted(t *testing.T) {
	s := loadWhole(t)
	for _, v := range []any{s, &s, s.VCenters, s.Reconcile, s.VCenters[1].Password} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, "hunter2") || strings.Contains(out, "68756e74657232") {
				t.Errorf("%s shows a secret: %s", verb, out)
			}
		}
	}
	main, _ := s.VCenter("main")
	other, _ := s.VCenter("other")
	for _, secret := range []Secret{main.Password, other.Password} {
		got, err := secret.Reveal()
		if err != nil || got != "hunter2" {
			t.Errorf("revealed %q, %v", got, err)
		}
	}
	if main.Username != "lkv" || main.URL != "https://vc.example.net/sdk" {
		t.Errorf("user %q, URL %q: want the user taken out of the URL", main.Username, main.URL)
	}
	if _, err := SecretFile("testdata/none.txt").Reveal(); err == nil {
		t.Error("a missing file gives a secret")
	}
}

func TestVariablesComeFromEverywhere(t *testing.T) {
	for name, tc := range map[string]struct {
		opt  Options
		want int
	}{
		"default":     {Options{}, 6},
		"environment": {Options{Env: map[string]string{"LKV_VAR_size": "3"}}, 3},
		"file":        {Options{VarFiles: []string{"testdata/size4.hcl"}, Env: map[string]string{"LKV_VAR_size": "3"}}, 4},
		"later file":  {Options{VarFiles: []string{"testdata/size4.hcl", "testdata/size5.json"}}, 5},
		"flag":        {Options{Vars: map[string]string{"size": "2"}, VarFiles: []string{"testdata/size4.hcl"}}, 2},
	} {
		s, err := Load("testdata/whole.hcl", tc.opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := s.Fleets[0].Size; got != tc.want {
			t.Errorf("%s: size %d, want %d", name, got, tc.want)
		}
	}
}

func TestWrongVariablesAreReported(t *testing.T) {
	for want, opt := range map[string]Options{
		`no variable of that name`:           {Vars: map[string]string{"sice": "2"}},
		`must be a number`:                   {Vars: map[string]string{"size": "two"}},
		`Unreadable variable file`:           {VarFiles: []string{"testdata/none.hcl"}},
		`sensitive.hcl:1:9: Missing newline`: {VarFiles: []string{"testdata/sensitive.hcl"}},
	} {
		_, err := Load("testdata/whole.hcl", opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opt, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is printed: %v", err)
		}
	}
}

func TestADirectoryIsOneSpec(t *testing.T) {
	s, err := Load("testdata/dir", Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"testdata/dir/a.hcl", "testdata/dir/b.hcl.json"}
	if d := cmp.Diff(want, s.Files); d != "" {
		t.Error(d)
	}
	if len(s.Images) != 1 || len(s.Stores) != 1 || s.Dir != "testdata/dir" {
		t.Errorf("%+v", s)
	}
	if _, err := Load("testdata/broken/none", Options{}); err == nil || Problems(err) != nil {
		t.Errorf("a missing path: %v", err)
	}
}

func TestPlacementsTakeTurnsAndNamesStay(t *testing.T) {
	f := loadWhole(t).Fleets[0]
	var got []string
	for _, m := range f.Members() {
		got = append(got, m.Name+" "+f.PlacementOf(m.Ordinal).Datacenter)
	}
	want := []string{"wrk-01 DC1", "wrk-02 DC2", "wrk-03 DC1", "wrk-04 DC2", "wrk-05 DC1", "wrk-06 DC2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A null is not written, so that one spec can choose its strategy by a variable.
func TestNullIsNotWritten(t *testing.T) {
	const spec = `
image "i" { linuxkit = ["i.yml"] }
store "s" {
  datacenter = "DC1"
  datastore  = "iso"
}
fleet "f" {
  image = "i"
  size  = 1
  name  = "f-%d"
  placement {
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm"
  }
  rollout {
    strategy = "in-place"
    disk     = VALUE
  }
}`
	for value, ok := range map[string]bool{"null": true, `true ? null : "fresh"`: true, `"hand-over"`: false} {
		path := filepath.Join(t.TempDir(), "lkv.hcl")
		if err := os.WriteFile(path, []byte(strings.Replace(spec, "VALUE", value, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(path, Options{})
		if (err == nil) != ok {
			t.Errorf("disk = %s: %v", value, err)
		}
		if err == nil && s.Fleets[0].Rollout.Disk != HandOver {
			t.Errorf("disk = %s is %q", value, s.Fleets[0].Rollout.Disk)
		}
	}
}
