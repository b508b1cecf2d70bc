package lint

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/internal/golden"
)

// render shows findings as goldens do.
func render(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s:%d:%d: %s %s: %s\n    | %s\n    why: %s\n    fix: %s\n", f.File, f.Line, f.Column, f.Code, f.Severity, f.Text, f.Source, f.Why, f.Fix)
		if f.Edit != nil {
			fmt.Fprintf(&b, "    edit: %d-%d %q -> %q\n", f.Edit.Start, f.Edit.End, f.Edit.Old, f.Edit.New)
		}
	}
	return b.String()
}

func example(text string) []Source { return []Source{{Name: "x.yml", Data: []byte(text)}} }

// only returns the findings of one rule.
func only(found []Finding, code string) []Finding {
	return slices.DeleteFunc(found, func(f Finding) bool { return f.Code != code })
}

// Each rule finds its bad example, in the words of the golden, and leaves its good one alone.
func TestExamples(t *testing.T) {
	seen := map[string]bool{}
	for i, r := range Rules() {
		if want := fmt.Sprintf("L%02d", i+1); r.Code != want || seen[r.Title] {
			t.Errorf("rule %d is %s %q, want %s and a title of its own", i, r.Code, r.Title, want)
		}
		seen[r.Title] = true
		t.Run(r.Code, func(t *testing.T) {
			if r.Code != "L36" { // its YAML is not about LinuxKit
				for _, text := range []string{r.Bad, r.Good} {
					if p := build.Check("x.yml", []byte(text)); text != "" && r.Code != "L20" && p != nil {
						t.Errorf("the example is faulty in itself: %v", p)
					}
				}
			}
			bad := only(Check(example(r.Bad), r.given), r.Code)
			if len(bad) == 0 {
				t.Errorf("%s is not found in its bad example", r.Code)
			}
			golden.Check(t, "testdata/"+r.Code+".golden", render(bad))
			if good := only(Check(example(r.Good), r.given), r.Code); r.Good != "" && len(good) > 0 {
				t.Errorf("%s is found in its good example: %s", r.Code, render(good))
			}
			if r.Severity != Warning && r.Severity != Error || r.Why == "" || r.Fix == "" {
				t.Errorf("%s lacks something", r.Code)
			}
		})
	}
}

// Every text that a rule looks for, one per line: code, context, YAML; "-" finds nothing.
func TestTraps(t *testing.T) {
	ctx := map[string]Context{
		"":     {},
		"disk": dockerBlock,
		"all":  {Persist: dockerBlock.Persist, Fleets: []Fleet{{Name: "f", Memory: 2 << 30}}, Need: 1 << 30, Format: build.FormatImage, Mount: build.MountImage},
	}
	for _, x := range []struct{ code, ctx, yaml string }{
		// storage
		{"L01", "", "onboot: [{name: f, image: 'docker.io/linuxkit/format:1', command: [format, -type, xfs]}]"},
		{"-L01", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, --label=x]}]"},
		{"-L01", "", "onboot: [{name: f, image: 'example/format:1'}]"},
		{"L02", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, --force=true, -label, x]}]"},
		{"-L02", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, -force=false, -label, x]}]"},
		{"-L02", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, -label, -force]}]"},
		{"L03", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, -label, x, /dev/sdb]}]"},
		{"L03", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -device, /dev/nvme0n1p1, /var/x]}]"},
		{"-L03", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -device, /dev/disk/by-id/x, /var/x]}]"},
		{"-L04", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -uuid, x, /var/x]}]"},
		{"-L05", "disk", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, docker, /var/x]}]"},
		{"L06", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, -label, a2345678901234567]}]"},
		{"-L06", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, -label, a234567890123456]}]"},
		{"-L06", "", "onboot: [{name: f, image: 'linuxkit/format:1', command: [format, -type, btrfs, -label, a2345678901234567]}]"},
		{"L07", "", "onshutdown: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, x, /var/x]}]"},
		{"L08", "all", "onboot: [{name: m, image: 'linuxkit/mount:1'}]"},
		{"-L08", "all", "onboot: [{name: m, image: '" + build.MountImage + "'}]"},
		{"-L08", "all", "onboot: [{name: m, image: '" + build.MountImage + "@sha256:" + strings.Repeat("a", 64) + "'}]"},
		{"-L09", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, a, /var/x]}, {name: f, image: 'linuxkit/format:1', command: [format, -label, b]}]"},
		{"L09", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, a, /var/x]}, {name: f, image: 'linuxkit/format:1', command: [format]}]"},
		{"L10", "", "onboot: [{name: p, image: 'lkv/persist:1', command: [lkv-guest, persist, --mount, /var/x, --label, x]}]"},
		{"-L10", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, a, /var/x]}, {name: g, image: 'lkv/persist:1', command: [lkv-guest, gate, --mount, /var/x], annotations: {lkv.required: 'true'}}]"},
		{"L10", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, a, /var/x]}, {name: g, image: 'lkv/persist:1', command: [lkv-guest, gate, --mount, /var/y], annotations: {lkv.required: 'true'}}]"},
		{"L11", "disk", "init: ['linuxkit/init:1']"},
		{"-L11", "disk", "init: ['lkv/init:1']"},
		{"-L11", "", "init: ['linuxkit/init:1']"},
		// data
		{"L13", "", "services: [{name: a, image: 'a:1', mounts: [{type: bind, source: /var/lib/a, destination: /a}]}]"},
		{"L13", "disk", "services: [{name: a, image: 'a:1', binds.add: ['/var/lib/docker2/a:/a']}]"},
		{"-L13", "disk", "services: [{name: a, image: 'a:1', binds: ['/var/lib/docker/../docker/a:/a']}]"},
		{"-L13", "", "services: [{name: a, image: 'a:1', binds: ['/var/lib/a:/a:ro', '/var/lib:/x', '/var:/var:rshared', '/var/lib/dhcpcd:/x', '/run:/run']}]"},
		{"-L13", "", "onboot: [{name: own, image: 'a:1', binds: ['/var:/var:rshared,rbind']}]\nservices: [{name: a, image: 'a:1', binds: ['/var/lib/a:/a']}]"},
		{"L13", "", "onboot: [{name: own, image: 'a:1', binds: ['/var:/var']}]\nservices: [{name: a, image: 'a:1', binds: ['/var/lib/a:/a']}]"},
		{"-L14", "disk", "services: [{name: d, image: 'lkv/docker:1'}]"},
		{"L14", "disk", "services: [{name: d, image: 'lkv/docker:1', binds: ['/run:/run']}]"},
		{"L14", "", "services: [{name: d, image: 'docker:28-dind', binds: ['/var/lib/docker:/var/lib/docker']}]"},
		{"-L13", "", "services: [{name: d, image: 'docker:28-dind', binds: ['/var/lib/docker:/var/lib/docker']}]"},
		{"L14", "disk", "services: [{name: d, image: 'docker:28-dind'}]"},
		{"-L14", "", "services: [{name: cli, image: 'docker:28-cli'}]"},
		{"L14", "disk", "services: [{name: d, image: 'x:1', command: [/usr/local/bin/dockerd], binds: ['/var/elsewhere:/var/lib/docker']}]"},
		{"-L14", "disk", "services: [{name: d, image: 'x:1', command: [dockerd], binds: ['/var/lib/docker/2:/var/lib/docker']}]"},
		{"-L14", "", "onboot: [{name: m, image: 'linuxkit/mount:1', command: [mountie, -label, a, /var/lib]}]\nservices: [{name: d, image: 'docker:dind', binds: ['/var/lib/docker:/var/lib/docker']}]"},
		// files
		{"L15", "", "init: ['lkv/init:1']\nfiles: [{path: /run/x, contents: x}]"},
		{"-L15", "", "init: ['lkv/init:1']\nfiles: [{path: var/x, contents: x}, {path: tmp, directory: true}, {path: runner/x, contents: x}]"},
		{"-L15", "", "init: ['example/init:1']\nfiles: [{path: var/x, contents: x}]"},
		{"L15", "disk", "init: ['lkv/init:1']\nfiles: [{path: var/lib/docker/x, contents: x}]"},
		{"L16", "", "files: [{path: k, contents: \"-----BEGIN OPENSSH PRIVATE KEY-----\"}]"},
		{"L16", "", "files: [{path: k, contents: '{\"password\": \"hunter22\"}'}]"},
		{"-L16", "", "files: [{path: k, contents: \"-----BEGIN PUBLIC KEY-----\\nPasswordAuthentication no\\npassword_file=/run/x\\npassword=$X\\ntoken: /run/x\"}]"},
		{"L16", "", "services: [{name: a, image: 'a:1', env: [DB_PASSWORD=hunter2]}]"},
		{"-L16", "", "services: [{name: a, image: 'a:1', env: [DB_PASSWORD=/run/x, TOKEN_FILE=abcd, PASSWORD=]}]"},
		// names
		{"L17", "", "kernel: {image: 'lkv/kernel:latest'}"},
		{"L17", "", "init: [lkv/init]"},
		{"-L17", "", "init: ['localhost:5000/init:1', 'x@sha256:" + strings.Repeat("a", 64) + "']"},
		{"L19", "disk", "onboot: [{name: one, image: 'a:1'}]\nservices: [{name: a, image: 'a:1', binds: ['/var/lib:/x'], gid: one}]"},
		{"-L19", "disk", "services: [{name: a, image: 'a:1', binds: ['/etc:/x'], uid: a}]"},
		{"-L19", "disk", "services: [{name: a, image: 'a:1', binds: ['/var/lib/docker:/x'], uid: '100'}]"},
		{"-L21", "", "onboot: [{name: a, image: 'a:1'}]\nonshutdown: [{name: a, image: 'a:1'}]"},
		{"L21", "", "onshutdown: [{name: a, image: 'a:1'}, {name: a, image: 'a:1'}]"},
		{"-L22", "", "services: [{name: a, image: 'a:1'}, {name: a, image: 'a:1'}]"},
		// kernel
		{"-L18", "all", "kernel: {image: 'k:1'}"},
		{"L23", "", "kernel: {image: 'k:1', cmdline: 'rootfstype=ramfs'}"},
		{"-L23", "", "kernel: {image: 'k:1', cmdline: 'console=tty0 rootflags=x lkv.root=y'}"},
		{"L24", "", "kernel: {image: 'k:1', cmdline: 'quiet'}"},
		{"-L24", "", "services: []"},
		{"-L25", "", "kernel: {cmdline: console=ttyS0}\nservices: [{name: g, image: 'linuxkit/getty:1'}]"},
		{"-L25", "all", "kernel: {cmdline: console=ttyS0}\nservices: [{name: g, image: 'a:1'}]"},
		{"L26", "", "kernel: {cmdline: 'a=\"b'}"},
		// images
		{"-L28", "", "onboot: [{name: m, image: 'linuxkit/metadata:1'}]"},
		{"L29", "", "onboot: [{name: d, image: 'linuxkit/dhcpcd:1', command: [/sbin/dhcpcd, --nobackground]}]"},
		{"-L29", "", "onboot: [{name: d, image: 'linuxkit/dhcpcd:1', command: [/sbin/dhcpcd, --oneshot]}, {name: e, image: 'lkv/dhcp:1', command: [/usr/bin/sh, -c, x]}]\nservices: [{name: d, image: 'lkv/dhcp:1'}]"},
		{"-L31", "", "services: [{name: s, image: 'linuxkit/sshd:1', binds.add: ['/run/config/ssh/authorized_keys:/root/.ssh/authorized_keys']}]"},
		{"L31", "", "services: [{name: s, image: 'linuxkit/sshd:1', binds.add: ['/root/.ssh:/root/.ssh']}]"},
		{"L34", "", "kernel: {image: 'k:1'}\nservices: [{name: s, image: 'a:1'}]"},
		{"L34", "disk", "init: ['lkv/init:1']"},
		{"-L34", "", "init: ['lkv/init:1']"},
		{"-L34", "", "init: ['example/all:1']\nservices: [{name: s, image: 'a:1'}]"},
		{"-L34", "", "init: ['linuxkit/init:1', 'linuxkit/runc:1', 'linuxkit/containerd:1']\nservices: [{name: s, image: 'a:1'}]"},
	} {
		code, none := strings.CutPrefix(x.code, "-")
		found := only(Check(example(x.yaml), ctx[x.ctx]), code)
		if none != (len(found) == 0) {
			t.Errorf("%s with context %q: %s\nfound: %s", x.code, x.ctx, x.yaml, render(found))
		}
	}
}

// Files of one image are judged together.
func TestSeveralFiles(t *testing.T) {
	files := []Source{
		{"a.yml", []byte("kernel: {image: 'lkv/kernel:1'}\ninit: ['lkv/init:1', 'lkv/runc:1']\nservices:\n  - {name: web, image: 'a:1'}\n  - {name: sshd, image: 'lkv/sshd:1'}\n")},
		{"b.yml", []byte("kernel: {cmdline: console=tty0}\nservices:\n  - {name: web, image: 'a:2'}\nfiles:\n  - {path: root/.ssh/authorized_keys, source: k}\n")},
		{"c.yml", []byte("- not a mapping\n")},
	}
	got := render(Check(files, Context{}))
	golden.Check(t, "testdata/several.golden", got)
	if strings.Count(got, "why:") != 1 {
		t.Errorf("only the service that is there twice is wrong:\n%s", got)
	}
}

// A lock file makes moving references stand still.
func TestPinned(t *testing.T) {
	ctx := Context{Pinned: func(ref string) bool { return ref == "a" }}
	got := only(Check(example("init: [a, b, c]"), ctx), "L17")
	if len(got) != 2 || got[0].Text != "b has no version" {
		t.Errorf("found %s", render(got))
	}
}

// A secret is reported without being shown, whatever else is found on its line.
func TestSecretsAreNotShown(t *testing.T) {
	for _, text := range []string{
		"files: [{path: run/k, contents: 'password=hunter22'}]",
		"files:\n  - path: run/k\n    contents: |\n      password=hunter22\n",
		"services:\n  - name: a\n    image: a:1\n    env: [PASSWORD=hunter22, TOKEN=hunter22]\n",
		"services: [{name: A, image: a, env: [PASSWORD=hunter22]}, {name: a, image: a}]",
	} {
		got := render(Check(example(text), Context{}))
		if strings.Contains(got, "hunter") || !strings.Contains(got, "L16") {
			t.Errorf("%s:\n%s", text, got)
		}
	}
}

// Examples and the machines of our own tests have no findings.
func TestOurOwnFiles(t *testing.T) {
	disk := Context{Persist: dockerBlock.Persist, Format: build.FormatImage, Mount: build.MountImage, Fleets: []Fleet{{Name: "f", Memory: 2 << 30}}}
	for path, ctx := range map[string]Context{
		"../../specs/examples/minimal/minimal.yml":         {},
		"../../specs/examples/docker-host/docker-host.yml": disk,
		"../../e2e/testdata/boot.yml":                      disk,
		"../../e2e/demo/host.yml":                          disk,
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := render(Check([]Source{{path, data}}, ctx)); got != "" {
			t.Errorf("%s", got)
		}
	}
}

// The keys that rule L33 names are those that moby throws away, and no others.
func TestLostKeys(t *testing.T) {
	for where, keys := range lostKeys {
		for _, k := range keys {
			if got := lossOf(t, where, k); !got {
				t.Errorf("moby reads %s.%s", where, k)
			}
		}
	}
	for where, keys := range map[string][]string{
		"resources.memory": {"limit", "reservation", "swap", "kernel", "swappiness"}, "resources.cpu": {"shares", "quota", "period", "cpus", "mems"},
		"resources.blockio": {"weight"}, "resources.pids": {"limit"}, "uidMappings": {"size"},
	} {
		for _, k := range keys {
			if lossOf(t, where, k) {
				t.Errorf("moby throws %s.%s away", where, k)
			}
		}
	}
}

// The document is made from the rules.
func TestDocumentIsCurrent(t *testing.T) {
	golden.Check(t, "../../docs/lint.md", Document())
}
