package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/specs"
)

// block returns the only block of that language in a page of the docs.
func block(t *testing.T, page, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/%s has %d blocks of %s", page, len(found), language)
	}
	return found[0]
}

// The unit, the line for cron and the file for Compose start a daemon or a run that this lkv understands.
func TestDaemonPage(t *testing.T) {
	app := system{Stdout: &bytes.Buffer{}}.app()
	understood := func(line string) {
		t.Helper()
		if bad := misused(app, line); bad != "" {
			t.Errorf("%s: %s", line, bad)
		}
	}
	unit := block(t, "daemon.md", "ini")
	for _, line := range strings.Split(unit, "\n") {
		if !regexp.MustCompile(`^(?:|#.*|\[(?:Unit|Service|Install)\]|[A-Z][A-Za-z]+=.*)$`).MatchString(line) {
			t.Errorf("no line of a unit: %q", line)
		}
		if start, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/"); ok {
			understood(start)
		}
	}
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil { // systemd's own opinion, where there is one
		path := filepath.Join(t.TempDir(), "lkv.service")
		here := strings.ReplaceAll(unit, "/usr/local/bin/lkv", "/bin/true") // it must exist
		if err := os.WriteFile(path, []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || bytes.Contains(out, []byte("lkv.service")) {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}
	cron := strings.Split(strings.TrimSpace(block(t, "daemon.md", "cron")), "\n")
	m := regexp.MustCompile(`^(?:[0-9*/,-]+ ){5}lkv /usr/local/bin/(lkv [^|]*) 2>&1 \| logger -t lkv$`).FindStringSubmatch(cron[len(cron)-1])
	if m == nil {
		t.Fatalf("no line of cron: %s", cron[len(cron)-1])
	}
	understood(m[1])

	var compose struct {
		Services map[string]struct {
			Command         []string
			Environment     map[string]string
			Configs         []struct{ Source, Target string }
			Secrets         []string
			StopGracePeriod string   `yaml:"stop_grace_period"`
			ReadOnly        bool     `yaml:"read_only"`
			CapDrop         []string `yaml:"cap_drop"`
			Ports           []string
			Image, Hostname string
			Volumes         []struct{ Type, Target string }
			Networks        []string
			Restart         string
			Deploy          map[string]any
		}
		Configs, Secrets, Networks map[string]any
	}
	dec := yaml.NewDecoder(strings.NewReader(block(t, "daemon.md", "yaml")))
	dec.KnownFields(true)
	if err := dec.Decode(&compose); err != nil {
		t.Fatal(err)
	}
	s := compose.Services["lkv"]
	understood("lkv " + strings.Join(s.Command, " "))
	if compose.Configs[s.Configs[0].Source] == nil || compose.Secrets[s.Secrets[0]] == nil || compose.Networks[s.Networks[0]] == nil || !slices.Contains(s.Command, s.Configs[0].Target) {
		t.Errorf("%+v", compose)
	}
	if d, err := time.ParseDuration(s.StopGracePeriod); err != nil || d < 15*time.Minute || len(s.Ports) > 0 {
		t.Errorf("%s, %v: a call in flight may take a quarter of an hour", s.StopGracePeriod, err)
	}
}

// The block of the page is a spec, and means what its comments say.
func TestDaemonPageSpec(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lkv.hcl")
	if err := os.WriteFile(path, []byte(block(t, "daemon.md", "hcl")), 0o600); err != nil {
		t.Fatal(err)
	}
	spec, err := specs.Load(path, specs.Options{Env: map[string]string{"WEBHOOK": "https://hooks.example.net/x"}})
	if err != nil {
		t.Fatal(err)
	}
	r := spec.Reconcile
	if address, err := specs.ListenAddress(r.Listen); err != nil || address != "127.0.0.1:9180" || r.Interval != 5*time.Minute || r.ClaimTTL != 2*time.Minute || r.Suspend || !r.Webhook.IsSet() {
		t.Errorf("%+v, %s, %v", r, address, err)
	}
}

// Every metric that the page names exists, and the page names every metric.
func TestDaemonPageMetrics(t *testing.T) {
	page, err := os.ReadFile("../../docs/daemon.md")
	if err != nil {
		t.Fatal(err)
	}
	real, err := os.ReadFile("../../reconcile/daemon/testdata/metrics.golden")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`lkv_[a-z_]+`)
	exists := map[string]bool{}
	for _, line := range strings.Split(string(real), "\n") {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			exists[name.FindString(rest)] = true
		}
	}
	named := map[string]bool{}
	for _, n := range name.FindAllString(string(page), -1) {
		if named[n] = true; !exists[n] {
			t.Errorf("docs/daemon.md names %s, which there is not", n)
		}
	}
	for n := range exists {
		if !named[n] {
			t.Errorf("docs/daemon.md does not name %s", n)
		}
	}
}

// The example of docs/hooks.md against an HAProxy of three lines.
func TestHooksPage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"drain.sh": block(t, "hooks.md", "sh"),
		"socat": `#!/bin/sh
read command; echo "$command" >>asked
[ "$command" != "show stat" ] || printf '# pxname,svname,qcur,qmax,scur\nweb,wrk-02,0,0,9\nweb,wrk-01,0,0,%s\nother,wrk-01,0,0,7\n' "$(cat sessions)"
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := hook.Command{Argv: []string{"./drain.sh"}, Dir: dir, Env: []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, Timeout: time.Minute}
	call := func(phase, vm, sessions string) (hook.Result, error) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "sessions"), []byte(sessions), 0o600); err != nil {
			t.Fatal(err)
		}
		return c.Run(t.Context(), hook.Subject{Phase: phase, VM: vm, Fleet: "web", Ordinal: 1, Reason: "image a → b"}.Env()...)
	}
	if res, err := call(hook.Drain, "wrk-01", "2"); !errors.Is(err, hook.ErrAgain) || res.Last() != "2 sessions on web/wrk-01" {
		t.Errorf("%+v, %v", res, err)
	}
	for _, phase := range []string{hook.Drain, hook.Restore} {
		if res, err := call(phase, "wrk-01", "0"); err != nil {
			t.Errorf("%s: %+v, %v", phase, res, err)
		}
	}
	if res, err := call(hook.Drain, "nobody", "0"); err == nil || errors.Is(err, hook.ErrAgain) || res.Code != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := call(hook.Check, "wrk-01", "0"); err == nil || res.Code != 64 {
		t.Errorf("%+v, %v", res, err)
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil || !strings.Contains(string(asked), "set server web/wrk-01 state drain\n") || !strings.Contains(string(asked), "set server web/wrk-01 state ready\n") {
		t.Errorf("%s, %v", asked, err)
	}
	page, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range (hook.Subject{}).Env() {
		if name, _, _ := strings.Cut(v, "="); !bytes.Contains(page, []byte("`"+name+"`")) {
			t.Errorf("docs/hooks.md does not explain %s", name)
		}
	}
}
