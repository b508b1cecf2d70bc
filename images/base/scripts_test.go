package base

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scripts returns every shell script that is shipped, by path.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := fs.Glob(shipped, "*/files/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := fs.ReadFile(shipped, f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(text), "#!/bin/sh\n") {
			all[f] = string(text)
		}
	}
	return all
}

func TestScriptsParse(t *testing.T) {
	all := scripts(t)
	if len(all) < 6 {
		t.Fatalf("only %d scripts found", len(all))
	}
	for name, text := range all {
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// Every script must be executable in its image.
func TestScriptsAreExecutable(t *testing.T) {
	cs, err := Components()
	if err != nil {
		t.Fatal(err)
	}
	all := scripts(t)
	for _, c := range cs {
		for _, f := range c.def.Files {
			if _, ok := all[c.Name+"/files/"+f.Source]; ok && f.Mode&0o111 == 0 {
				t.Errorf("%s: %s is a script without x", c.Name, f.Path)
			}
		}
	}
}

// TestDHCPHook plays a machine's life: two cards, an IPv6 event without name servers, a lost lease.
func TestDHCPHook(t *testing.T) {
	dir := t.TempDir()
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(resolv)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		env  []string
		want string
	}{
		{[]string{"reason=PREINIT", "interface=eth0"}, ""},
		{[]string{"reason=BOUND", "interface=eth0", "new_domain_name_servers=10.0.0.1 10.0.0.2", "new_domain_name=a.example"},
			"nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example\n"},
		{[]string{"reason=ROUTERADVERT", "interface=eth0"}, "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example\n"},
		{[]string{"reason=RENEW", "interface=eth1", "new_domain_name_servers=10.1.0.1", "new_domain_search=b.example c.example"},
			"nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example\nnameserver 10.1.0.1\nsearch b.example c.example\n"},
		{[]string{"reason=EXPIRE", "interface=eth0"}, "nameserver 10.1.0.1\nsearch b.example c.example\n"},
	} {
		cmd := exec.Command("sh", "dhcp/files/dhcp-hook")
		cmd.Env = append(step.env, "PATH="+os.Getenv("PATH"), "LKV_RESOLV_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", step.env, err, out)
		}
		got, err := os.ReadFile(resolv)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != step.want {
			t.Errorf("after %v: %q, want %q", step.env, got, step.want)
		}
	}
	after, err := os.Stat(resolv)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("resolv.conf was replaced: containers that have it bound would keep the old one")
	}
}

// command is a word where a shell expects the name of a program.
var command = regexp.MustCompile(`(?m)(?:^|[;&|({]|\$\(|\b(?:do|then|else|if|while|exec)[ \t])[ \t]*([a-z][a-z0-9_-]*)(?:[ \t]|$)`)

// shellWords are builtins and keywords, and functions of the scripts themselves.
var shellWords = strings.Fields("case esac do done then else elif if fi while for in set shift trap wait exit return exec echo " +
	"read export break continue kill local cd umask keep port")

// TestScriptsFindTheirPrograms: an image has only the commands its definition puts there.
func TestScriptsFindTheirPrograms(t *testing.T) {
	cs, err := Components()
	if err != nil {
		t.Fatal(err)
	}
	all := scripts(t)
	found := 0
	for _, c := range cs {
		have := map[string]bool{}
		for at := range c.def.Links {
			have[path.Base(string(at))] = true
		}
		for _, k := range c.def.Take {
			for _, g := range k.Keep {
				have[path.Base(string(g))] = true
			}
		}
		for _, f := range c.def.Files {
			for _, m := range command.FindAllStringSubmatch(stripComments(all[c.Name+"/files/"+f.Source]), -1) {
				if w := m[1]; slices.Contains(shellWords, w) {
					continue
				} else if found++; !have[w] {
					t.Errorf("%s: %s runs %s, which is not in the image", c.Name, f.Source, w)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands were recognised: the test looks at nothing", found)
	}
}

// quoted is text of messages and of awk programs.
var quoted = regexp.MustCompile(`'[^']*'|"[^"$]*"`)

// stripComments removes comment lines, messages and quoted text.
func stripComments(script string) string {
	var keep []string
	for _, l := range strings.Split(script, "\n") {
		if s := strings.TrimSpace(l); !strings.HasPrefix(s, "#") && !strings.HasPrefix(s, "echo ") {
			keep = append(keep, quoted.ReplaceAllString(l, "''"))
		}
	}
	return strings.Join(keep, "\n")
}
