//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// proof is the JSON of lkv prove.
type proof struct {
	Proven        bool
	Verdict, Logs string
	Steps         []struct {
		Name, Detail string
		Proven       bool
	}
}

// prove runs lkv prove on an ISO. Its exit code must agree with its verdict.
func prove(t *testing.T, iso string, args ...string) proof {
	t.Helper()
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(need(t, "LKV_BIN"), "lkv"), append([]string{"prove", "--json", "--iso", iso}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var p proof
	if jerr := json.Unmarshal(out, &p); jerr != nil {
		t.Fatalf("lkv prove: %v, %v\n%s", err, jerr, stderr.Bytes())
	}
	t.Logf("%s%s", stderr.Bytes(), p.Verdict)
	var exit *exec.ExitError
	if p.Proven != (err == nil) || err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Errorf("proven %t, but %v", p.Proven, err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 1 || len(left) == 1 && filepath.Join(tmp, left[0].Name()) != p.Logs {
		t.Errorf("left in the temporary directory: %v, %v; logs are said to be in %q", left, err, p.Logs)
	}
	return p
}

// buildYAML builds an image from one file of testdata, for BIOS only, and returns its ISO.
func buildYAML(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	yml, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	const hcl = `image "broken" {
  linuxkit = ["broken.yml"]
  boot     = ["bios"]
}`
	for file, text := range map[string]string{"broken.yml": string(yml), "lkv.hcl": hcl} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lkv(t, dir, "build", "--offline")
	list, err := filepath.Glob(filepath.Join(dir, "dist", "*.iso"))
	if err != nil || len(list) != 1 {
		t.Fatalf("ISOs: %v, %v", list, err)
	}
	return list[0]
}

// TestProve proves a real image, with both firmwares, and keeps the logs where it was told to.
func TestProve(t *testing.T) {
	img := build(t, "prove")
	logs := filepath.Join(t.TempDir(), "logs")
	p := prove(t, img.iso, "--keep", logs)
	if !p.Proven || len(p.Steps) != 4 || p.Logs != logs {
		t.Errorf("%+v", p)
	}
	for _, s := range p.Steps {
		log, err := os.ReadFile(filepath.Join(logs, s.Name+".log"))
		if err != nil || !bytes.Contains(log, []byte("lkv: image boot "+img.manifest.ID)) {
			t.Errorf("log of %s: %v", s.Name, err)
		}
	}
}

// TestNotProven: images whose services start on a blank disk as they should, and that lose data later.
func TestNotProven(t *testing.T) {
	for name, c := range map[string]struct{ step, says string }{
		"forced.yml":  {"1-first", "another step of the image writes to disks"},
		"ungated.yml": {"3-no-disk", "services were started without the data disk"},
	} {
		t.Run(name, func(t *testing.T) {
			p := prove(t, buildYAML(t, name))
			if p.Proven || len(p.Steps) == 0 {
				t.Fatalf("%+v", p)
			}
			last := p.Steps[len(p.Steps)-1]
			if last.Name != c.step || last.Proven || !strings.Contains(last.Detail, c.says) || !strings.HasPrefix(p.Verdict, "NOT proven: broken-") {
				t.Errorf("%+v, want %s: %s", p, c.step, c.says)
			}
			for _, ending := range []string{".log", ".png"} {
				if st, err := os.Stat(filepath.Join(p.Logs, last.Name+ending)); err != nil || st.Size() == 0 {
					t.Errorf("%s%s: %v", last.Name, ending, err)
				}
			}
		})
	}
}
