package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// journals checks every journal of the mission's runs, and that there are as many as runs that changed something.
func (m *mission) journals(want int) {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, "cache", "journal", "*.jsonl"))
	if err != nil || len(found) != want {
		m.t.Errorf("journals: %v, %v; want %d", found, err, want)
	}
	for _, path := range found {
		m.lkv(exitOK, "verify", path)
		raw, err := os.ReadFile(path)
		if err != nil {
			m.t.Fatal(err)
		}
		if strings.Contains(string(raw), m.env["LKV_VCENTER_PASSWORD"]) && len(m.env["LKV_VCENTER_PASSWORD"]) > 6 {
			m.t.Errorf("%s holds the password", path)
		}
	}
}

func command(t *testing.T, env map[string]string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), system{
		Args: append([]string{"lkv"}, args...), Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e, Env: env,
		Now: time.Now, Rand: new(counter), Version: "test", Host: "here",
	})
	return code, o.String(), e.String()
}

func TestVerify(t *testing.T) {
	const whole = "../../reconcile/journal/testdata/roll.jsonl"
	raw, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		p := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(p, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	killed := file("killed", bytes.Join(lines[:5], nil))
	edited := file("edited", bytes.Replace(raw, []byte(`"poweredOff"`), []byte(`"poweredOn"`), 1))
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"verify", whole}, exitOK, "all that is visible holds"},
		{[]string{"verify", killed}, exitError, "unfinished: ReconfigVM_Task of wrk-01 (line 5)"},
		{[]string{"verify", killed}, exitError, "the last line is missing"},
		{[]string{"verify", edited}, exitError, "broken: line"},
		{[]string{"verify", "--json", edited}, exitError, `"ok": false`},
		{[]string{"verify", "--json", whole}, exitOK, `"ok": true`},
		{[]string{"verify"}, exitUsage, "lkv verify JOURNAL"},
		{[]string{"verify", whole, killed}, exitUsage, "lkv verify JOURNAL"},
		{[]string{"verify", whole, "--json"}, exitUsage, "would be ignored"},
		{[]string{"verify", filepath.Join(t.TempDir(), "none")}, exitError, "open journal"},
		{[]string{"verify", t.TempDir()}, exitError, "read journal"},
	} {
		code, out, errs := command(t, nil, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
		if json.Valid([]byte(out)) != (len(c.args) > 1 && c.args[1] == "--json") {
			t.Errorf("%v: is JSON %v", c.args, json.Valid([]byte(out)))
		}
	}
}

// A run that cannot write its journal ends before it looks for a vCenter.
func TestReconcileNeedsItsJournal(t *testing.T) {
	dir := t.TempDir()
	spec, taken := filepath.Join(dir, "lkv.hcl"), filepath.Join(dir, "taken.jsonl")
	for name, text := range map[string]string{spec: missionSpec, filepath.Join(dir, "host.yml"): missionYAML, taken: "x"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		env  map[string]string
		args []string
		says string
	}{
		{nil, []string{"--journal", taken}, "make journal"},
		{nil, []string{"--journal", filepath.Join(dir, "no", "x.jsonl")}, "make journal"},
		{nil, []string{"--journal", taken + "/x/"}, "make directory of journals"},
		{nil, nil, "no directory for the journal"},
		{map[string]string{"XDG_STATE_HOME": taken}, nil, "make directory of journals"},
		{map[string]string{"HOME": taken}, nil, "make directory of journals"},
		{map[string]string{"LKV_CACHE": dir}, []string{"--journal", "none"}, "no vCenter"},
		{map[string]string{"LKV_CACHE": dir}, nil, "no vCenter"},
	} {
		code, out, errs := command(t, c.env, append([]string{"-f", spec, "reconcile"}, c.args...)...)
		if code == exitOK || !strings.Contains(errs, c.says) {
			t.Errorf("%v %v: exit code %d, want %q\n%s%s", c.env, c.args, code, c.says, out, errs)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "journal", "*")); err != nil || len(left) > 0 {
		t.Errorf("journals of runs that did nothing: %v %v", left, err)
	}
}
