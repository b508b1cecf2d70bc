package base

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestShippedComponents(t *testing.T) {
	cs, err := Components()
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, c := range cs {
		refs = append(refs, c.Ref)
		if strings.Contains(c.Description, "\n") {
			t.Errorf("%s: description has more than one line", c.Name)
		}
		for _, f := range c.def.Files {
			if _, err := fs.Stat(c.src, "files/"+f.Source); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
	want := []string{
		"lkv/kernel:1", "lkv/init:1", "lkv/runc:1", "lkv/dhcp:1", "lkv/persist:1",
		"lkv/tools:1", "lkv/sshd:1", "lkv/docker:1", "lkv/boot:1",
	}
	if d := cmp.Diff(want, refs); d != "" {
		t.Error(d)
	}
}

// Every file that is shipped must be used, or it rots.
func TestShippedFilesAreUsed(t *testing.T) {
	cs, err := Components()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		used := map[string]bool{}
		for _, f := range c.def.Files {
			used["files/"+f.Source] = true
		}
		files, err := fs.Glob(c.src, "files/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !used[f] {
				t.Errorf("%s: %s is in no files entry", c.Name, f)
			}
		}
	}
}

// The engine's container must see nothing it cannot have: every bind's source exists on a machine made of our init,
// or the runtime section makes it.
func TestBindSourcesExist(t *testing.T) {
	cs, err := Components()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{"/run": true, "/sys/fs/cgroup": true, "/etc/resolv.conf": true}
	for _, c := range cs {
		if c.Name == "init" {
			for _, d := range c.def.Dirs {
				there[string(d.Path)] = true
			}
			for _, f := range c.def.Files {
				there[string(f.Path)] = true
			}
		}
	}
	there["/var"] = true
	for _, c := range cs {
		made := map[string]bool{}
		rt, _ := c.def.LinuxKit["runtime"].(map[string]any)
		dirs, _ := rt["mkdir"].([]any)
		for _, d := range dirs {
			made[d.(string)] = true
		}
		binds, _ := c.def.LinuxKit["binds"].([]any)
		for _, b := range binds {
			src, _, _ := strings.Cut(b.(string), ":")
			if !there[src] && !made[src] {
				t.Errorf("%s binds %s, which init does not have and runtime.mkdir does not make", c.Name, src)
			}
		}
	}
}

func TestParseDefinitionErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "description: x\npackages: [aa]\npackage: b\n", "x/component.yml:3: field package not found"},
		{"bad indentation", "description: x\n  packages: [a\n", "x/component.yml:2:"},
		{"wrong type", "description: x\npackages: {a: b}\n", "x/component.yml:2: cannot unmarshal"},
		{"relative path", "description: x\nguest: init\n", `x/component.yml:2: "init" must be an absolute path`},
		{"path with dots", "description: x\ntake:\n  - package: aa\n    keep: [/usr/../bin]\n", "x/component.yml:4: \"/usr/../bin\" must be"},
		{"mode not octal", "description: x\nguest: /a\ndirs:\n  - {path: /b, mode: 0798}\n", `x/component.yml:4: "0798" is not an octal`},
		{"no description", "packages: [aa]\n", "x/component.yml:1: description is missing"},
		{"take without keep", "description: x\npackages: [aa]\ntake:\n  - package: aa\n", "x/component.yml:3: take 1 needs"},
		{"rename of many", "description: x\npackages: [aa]\ntake:\n  - {package: a, keep: [/a, /b], to: /c}\n", "to renames one file"},
		{"file without source", "description: x\nguest: /g\nfiles:\n  - {path: /a}\n", "x/component.yml:3: a file needs"},
		{"kernel without modules", "description: x\npackages: [aa]\nkernel: {}\n", "x/component.yml:3: kernel lists no modules"},
		{"empty image", "description: x\n", "the image would be empty"},
		{"package with shell", "description: x\npackages: [\"a; reboot\"]\n", "x/component.yml:2: \"a; reboot\" is no name"},
		{"bundle without package", "description: x\nguest: /g\nbundles:\n  - {path: /a}\n", "x/component.yml:3: a bundle needs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseDefinition("x/component.yml", []byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not contain %q", err, tc.want)
			}
		})
	}
}

func TestParseDefinitionReportsAll(t *testing.T) {
	_, err := parseDefinition("c.yml", []byte("packages: [aa]\ntake:\n  - package: aa\nkernel: {}\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three problems in one error, got %q", err)
	}
}

func TestLoadReportsEveryComponent(t *testing.T) {
	_, err := load(fstest.MapFS{
		"a/component.yml": {Data: []byte("nope: 1\n")},
		"b/component.yml": {Data: []byte("nope: 1\n")},
	})
	if err == nil || !strings.Contains(err.Error(), "a/component.yml:1") || !strings.Contains(err.Error(), "b/component.yml:1") {
		t.Errorf("error does not name both files: %v", err)
	}
}

func FuzzParseDefinition(f *testing.F) {
	f.Add([]byte("description: x\npackages: [aa]\nkernel: {modules: [b]}\n"))
	f.Add([]byte("files:\n  - {path: /a, mode: 07777}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDefinition("f", text)
		if err == nil && d.Description == "" {
			t.Error("accepted without a description")
		}
	})
}
