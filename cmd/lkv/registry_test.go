package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/specs"
)

// withRegistry gives a mission's spec a registry store, and more in the block of the registry and of the image.
func (m *mission) withRegistry(host, rule, image string) {
	m.t.Helper()
	spec := strings.Replace(missionSpec, "boot     = [\"bios\"]\n", "boot     = [\"bios\"]\n"+image, 1)
	m.write("lkv.hcl", spec+"store \"reg\" {\n  registry = \""+host+"/isos\"\n}\nregistry \""+host+"/*\" {\n  insecure = [\""+host+"\"]\n"+rule+"}\n")
}

// noVCenter runs one command line that knows no vCenter.
func (m *mission) noVCenter(want int, args ...string) string {
	m.t.Helper()
	all := m.env
	defer func() { m.env = all }()
	m.env = map[string]string{"LKV_CACHE": all["LKV_CACHE"], "LKV_VCENTER_PASSWORD": all["LKV_VCENTER_PASSWORD"]} // a password alone is no vCenter
	return m.lkv(want, args...)
}

// complaint runs one command line and returns standard error.
func (m *mission) complaint(want int, args ...string) string {
	m.t.Helper()
	var errs bytes.Buffer
	got := run(m.t.Context(), system{
		Args: append([]string{"lkv", "-f", filepath.Join(m.dir, "lkv.hcl"), "--progress", "none"}, args...), Stdin: strings.NewReader(""),
		Stdout: &bytes.Buffer{}, Stderr: &errs, Env: m.env, Now: time.Now, Rand: &m.num, Version: "test", Host: "here",
	})
	if got != want {
		m.t.Fatalf("lkv %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, want, &errs)
	}
	return errs.String()
}

func (m *mission) built(n string, build ...string) {
	m.t.Helper()
	m.write("host.yml", strings.Replace(missionYAML, "RELEASE", n, 1))
	m.lkv(exitOK, append([]string{"build", "--offline", "--out", filepath.Join(m.dir, "dist")}, build...)...)
}

// steady replaces what differs from run to run in a JSON document.
func steady(text, host string) string {
	text = strings.ReplaceAll(text, host, "REGISTRY")
	for rule, by := range map[string]string{`[0-9a-f]{64}`: "SHA256", `"bytes_uploaded": [1-9][0-9]*`: `"bytes_uploaded": N`, `"time": "[^"]*"`: `"time": "T"`} {
		text = regexp.MustCompile(rule).ReplaceAllString(text, by)
	}
	return text
}

func (m *mission) pushed(text string) []push.Result {
	m.t.Helper()
	var doc pushed
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		m.t.Fatalf("%v in %s", err, text)
	}
	return doc.Pushed
}

// CI pushes to a registry without knowing a vCenter; somebody who knows one brings the ISO to the datastores, once.
func TestPushByWayOfARegistry(t *testing.T) {
	m := newMission(t, lab.Paper{})
	host := aRegistry(t)
	m.withRegistry(host, "", "")
	dist := filepath.Join(m.dir, "dist")
	m.built("1")
	m.noVCenter(exitUsage, "push", "--from-registry", "--store", "reg") // no credentials
	first := m.noVCenter(exitOK, "push", "--store", "reg", "--out", dist, "--json")
	golden.Check(t, "testdata/registry_push.json", steady(first, host))
	sum := m.pushed(first)[0].SHA256
	again := m.pushed(m.noVCenter(exitOK, "push", "--store", "reg", "--out", dist, "--json", "--verify", "full"))
	if len(again) != 1 || again[0].How != push.Already || again[0].BytesUploaded != 0 || again[0].Verified != push.Full {
		t.Errorf("again: %+v", again)
	}
	if blocked := m.plan(exitRefused).Fleets[0].Blocked; len(blocked) != 1 || blocked[0].Code != "R01" || blocked[0].Clear != "lkv push --from-registry --image host --channel latest" {
		t.Errorf("before it is on the datastores: %+v", blocked)
	}
	golden.Check(t, "testdata/registry_pull.json", steady(m.lkv(exitOK, "push", "--from-registry", "--json"), host))
	if found, err := filepath.Glob(filepath.Join(m.dir, "cache", "fetched", "*")); err != nil || len(found) > 0 {
		t.Errorf("left in the cache: %v, %v", found, err)
	}
	for _, r := range m.pushed(m.lkv(exitOK, "push", "--from-registry", "--json")) {
		if r.How != push.Already || r.BytesUploaded != 0 || r.SHA256 != sum {
			t.Errorf("second time: %+v", r)
		}
	}
	m.plan(exitPending)

	m.built("2")
	all := m.pushed(m.lkv(exitOK, "push", "--out", dist, "--json"))
	if len(all) != 3 || all[0].Store != "reg" || all[0].Verified != byDigest || all[2].Path[0] != '[' {
		t.Errorf("push to all: %+v", all)
	}
	if out := m.lkv(exitOK, "promote", "host@sha256:"+sum, "stable"); !strings.Contains(out, "on dc1, dc2, reg") {
		t.Error(out)
	}
	golden.Check(t, "testdata/registry_channels.json", steady(m.lkv(exitOK, "channels", "--json"), host))
	m.noVCenter(exitOK, "promote", "--store", "reg", "host@sha256:"+sum, "latest")
	if out := m.lkv(exitOK, "channels"); !strings.Contains(out, "stores disagree: channel latest") {
		t.Error(out)
	}
	m.noVCenter(exitError, "promote", "--store", "reg", "host@sha256:"+strings.Repeat("0", 64), "latest")
	back := m.pushed(m.lkv(exitOK, "push", "--from-registry", "--image", "host", "--digest", "sha256:"+all[0].SHA256, "--channel", "other", "--verify", "full", "--json"))
	if len(back) != 2 || back[1].Verified != push.Full || back[1].SHA256 != all[0].SHA256 {
		t.Errorf("by digest: %+v", back)
	}
	if out := m.complaint(exitOK, "gc", "--yes", "--isos"); !strings.Contains(out, "store reg is a registry: what it keeps is for its own retention to say") {
		t.Error(out)
	}
	for _, args := range [][]string{
		{"push", "--digest", "sha256:" + sum}, {"push", "--from-registry", "--digest", "12"}, {"push", "--from-registry", "--store", "no"},
	} {
		m.lkv(exitUsage, args...)
	}
}

// With fetch = true a push to the registry is all that a roll takes: plan says so and changes nothing, reconcile does it.
func TestReconcileFetches(t *testing.T) {
	m := newMission(t, lab.Paper{})
	host := aRegistry(t)
	m.withRegistry(host, "", "  fetch = true\n")
	dist := filepath.Join(m.dir, "dist")
	m.plan(exitRefused) // nothing anywhere
	for _, release := range []string{"1", "2"} {
		m.built(release)
		m.noVCenter(exitOK, "push", "--store", "reg", "--out", dist)
		before := m.mutations()
		if out := m.complaint(exitPending, "plan"); !strings.Contains(out, "reconcile first brings ISO") || !strings.Contains(out, "to dc1, dc2") {
			t.Error(out)
		}
		if after := m.mutations(); after != before {
			t.Errorf("plan made %d mutating calls", after-before)
		}
		m.lkv(exitOK, "reconcile")
		if out := m.complaint(exitOK, "plan"); out != "" {
			t.Errorf("afterwards: %s", out)
		}
	}
	m.disks()
	m.journals(2)
	found, err := filepath.Glob(filepath.Join(m.dir, "cache", "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		text, err := os.ReadFile(f)
		if puts := strings.Count(string(text), `"method":"PUT"`); err != nil || puts < 3 || !strings.Contains(string(text), "CopyDatastoreFile_Task") {
			t.Errorf("%s: %d uploads of what was fetched, %v", f, puts, err)
		}
	}
	m.write("lkv.hcl", missionSpec)
	m.plan(exitOK) // the registry is not needed for what is there
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
}

// When the spec names keys, an ISO from a registry reaches no datastore before one of them vouches for it.
func TestRegistryKeys(t *testing.T) {
	m := newMission(t, lab.Paper{})
	host := aRegistry(t)
	key := m.signKey()
	m.withRegistry(host, "  cosign_keys = [\"sign.pub\"]\n", "  fetch = true\n")
	dist := filepath.Join(m.dir, "dist")
	m.built("1")
	m.noVCenter(exitOK, "push", "--store", "reg", "--out", dist)
	before := m.mutations()
	for _, args := range [][]string{{"push", "--from-registry"}, {"plan"}, {"reconcile"}} {
		out := m.complaint(exitRefused, args...)
		if args[0] == "push" && !strings.Contains(out, "not signed as it must be") {
			t.Errorf("%s: %s", args, out)
		}
	}
	if after := m.mutations(); after != before {
		t.Errorf("%d mutating calls for an ISO that nobody signed", after-before)
	}
	m.built("1", "--sign", key)
	m.noVCenter(exitOK, "push", "--store", "reg", "--out", dist)
	if out := m.complaint(exitPending, "plan"); !strings.Contains(out, "reconcile first brings ISO") {
		t.Errorf("signed: %s", out)
	}
	for _, r := range m.pushed(m.lkv(exitOK, "push", "--from-registry", "--json")) {
		m.vouched(r, "DC"+r.Store[2:])
	}
	m.lkv(exitOK, "reconcile")
	m.plan(exitOK)
	if len(m.disks()) != 3 {
		t.Error("no fleet")
	}
}

// signKey makes a key, and sign.pub for those who check its signatures.
func (m *mission) signKey() string {
	m.t.Helper()
	key := filepath.Join(m.dir, "sign.key")
	for _, args := range [][]string{{"genpkey", "-algorithm", "ed25519", "-out", key}, {"pkey", "-in", key, "-pubout", "-out", filepath.Join(m.dir, "sign.pub")}} {
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			m.t.Fatalf("%v: %s", err, out)
		}
	}
	return key
}

// vouched checks that the key vouches for an ISO by what lies beside it on the datastore.
func (m *mission) vouched(r push.Result, dc string) {
	m.t.Helper()
	dir := filepath.Join(m.lab.DatastoreDir(dc, "iso-nfs"), "lkv", "host")
	for _, ending := range []string{".manifest.json.sig", ".provenance.dsse.json"} {
		if _, err := os.Stat(filepath.Join(dir, r.SHA256+ending)); err != nil {
			m.t.Error(err)
		}
	}
	m.lkv(exitOK, "verify-image", "--iso", filepath.Join(dir, r.SHA256+".iso"), "--key", filepath.Join(m.dir, "sign.pub"))
}

// A signed image goes straight to datastores: its signatures lie beside it and vouch for it there, on the store that got
// an upload and on the one that got a copy, a channel moves to it, gc takes all of an older one and leaves the rest.
func TestSignedImage(t *testing.T) {
	m := newMission(t, lab.Paper{})
	key, dist := m.signKey(), filepath.Join(m.dir, "dist")
	var sums []string
	for _, release := range []string{"1", "2"} {
		m.built(release, "--sign", key)
		results := m.pushed(m.lkv(exitOK, "push", "--out", dist, "--json"))
		if len(results) != 2 || results[1].How != push.Copied {
			t.Fatalf("%+v", results)
		}
		m.vouched(results[0], "DC1")
		m.vouched(results[1], "DC2")
		sums = append(sums, results[0].SHA256)
	}
	m.lkv(exitOK, "promote", "host@sha256:"+sums[0], "stable")
	m.lkv(exitOK, "promote", "host@sha256:"+sums[1], "stable")
	m.built("2") // the same ISO without a signature: the one on the stores stays
	again := m.pushed(m.lkv(exitOK, "push", "--out", dist, "--json"))
	if len(again) != 2 || again[0].SHA256 != sums[1] || again[0].How != push.Already {
		t.Errorf("%+v", again)
	}
	m.vouched(again[0], "DC1")
	sig := filepath.Join(m.lab.DatastoreDir("DC1", "iso-nfs"), "lkv", "host", sums[1]+".manifest.json.sig")
	if err := os.WriteFile(sig, []byte("broken off"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.built("2", "--sign", key) // a signature that was damaged is put right
	m.lkv(exitOK, "push", "--out", dist)
	m.vouched(again[0], "DC1")
}

// Who only looks brings nothing, also when the command is reconcile: a suspended daemon looks on.
func TestWhoFetches(t *testing.T) {
	spec := specs.Spec{Dir: t.TempDir(), Images: []specs.Image{{Name: "host", Fetch: true}}, Stores: []specs.Store{{Name: "reg", Registry: "registry.example.invalid/x"}}}
	s := system{Env: map[string]string{"LKV_CACHE": t.TempDir()}, Stderr: &bytes.Buffer{}, Now: time.Now}
	for _, c := range []struct {
		command              string
		alone, none, fetches bool
	}{
		{command: "plan"}, {command: "reconcile"}, {command: "reconcile", alone: true, fetches: true},
		{command: "status", none: true}, {command: "resume", alone: true, none: true},
	} {
		app := &cli.App{Commands: []*cli.Command{{Name: c.command, Action: func(x *cli.Context) error {
			f, err := s.fetcher(x, spec, c.alone)
			if err != nil || (f == nil) != c.none || f != nil && f.now != c.fetches {
				t.Errorf("%+v: %+v, %v", c, f, err)
			}
			return nil
		}}}}
		if err := app.Run([]string{"lkv", c.command}); err != nil {
			t.Error(err)
		}
	}
}
