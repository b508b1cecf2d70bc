package build

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/lkv-io/lkv/internal/rootdesc"
)

// aliases is YAML that doubles again and again: nine lines for 10^9 values.
func aliases(first, join string) string {
	text, last := "a0: &a0 "+first+"\n", "a0"
	for i := 1; i < 10; i++ {
		next := fmt.Sprintf("a%d", i)
		text += fmt.Sprintf("%s: &%s [%s]\n", next, next, strings.TrimSuffix(strings.Repeat("*"+last+join, 10), join))
		last = next
	}
	return text + "last: *" + last + "\n"
}

// TestHostileYAML: each is refused with the file's name, and its line where there is one, before any image is asked for.
func TestHostileYAML(t *testing.T) {
	const service = "services:\n- name: a\n  image: x\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"aliases":         {aliases("[x, x]", ", "), `b.yml:1: unknown key "a0"`},
		"aliases, used":   {"services:\n- name: a\n  image: x\n  env: &e [" + strings.Repeat("x, ", 1100) + "x]\n" + strings.Repeat("- {name: a, image: x, env: *e}\n", 1000), "expand to more than"},
		"itself":          {"services: &s\n- name: a\n  image: x\n  env: *s\n", "b.yml:"},
		"merges itself":   {"services:\n- &a\n  name: a\n  image: x\n  <<: *a\n", "b.yml:"},
		"deep":            {strings.Repeat("[", 200_000), "b.yml"},
		"deep mapping":    {"files: " + strings.Repeat("{a: ", 20_000), "b.yml"},
		"no YAML":         {"\x00\x01\x02", "b.yml: not readable as YAML"},
		"UTF-16 nonsense": {"\xff\xfe\x00\xd8", "b.yml"},
		"tag":             {"kernel: !!binary x\n", "b.yml:1"},
		"above":           {"files: [{path: ../../etc/passwd, contents: x}]\n", `b.yml:1: path "../../etc/passwd": name with ".."`},
		"in the middle":   {"files:\n- path: a/../../b\n  contents: x\n", `b.yml:2: path "a/../../b": name with ".."`},
		"two slashes":     {"files: [{path: //etc/passwd, contents: x}]\n", "b.yml:1"},
		"the root":        {"files: [{path: /, contents: x}]\n", "it names no file"},
		"long name":       {"files: [{path: " + strings.Repeat("n", 256) + ", contents: x}]\n", "b.yml:1"},
		"long path":       {"files: [{path: " + strings.Repeat("n/", 3000) + "x, contents: x}]\n", "b.yml:1: path \"n/n/"},
		"end of archive":  {"files: [{path: TRAILER!!!, contents: x}]\n", "b.yml:1"},
		"zero byte":       {`files: [{path: "a\0b", contents: x}]` + "\n", "name with a zero byte"},
		"long target":     {"files: [{path: a, symlink: " + strings.Repeat("n/", 3000) + "}]\n", "b.yml:1: symlink: target of 6000 bytes"},
		"service above":   {"services: [{name: .., image: x}]\n", "cannot be the name of a directory"},
		"service's path":  {"services: [{name: a/../../b, image: x}]\n", "cannot be the name of a directory"},
		"service's name":  {"services: [{name: " + strings.Repeat("n", 300) + ", image: x}]\n", "cannot be the name of a directory"},
		"image":           {service + "- name: b\n  image: ../../x\n", "b.yml:5: image"},
	} {
		for _, mode := range []string{rootInitrd, rootSquashfs} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				in := smallInput(t, rootShelf(t))
				in.Rootfs = mode
				in.YAML = append(in.YAML, Source{"b.yml", []byte(c.yaml)})
				_, err := Build(t.Context(), in)
				if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 20_000 {
					t.Errorf("error %.500v, want %q", err, c.want)
				}
				nothingLeft(t, in)
			})
		}
	}
}

// TestHostileSources: what is no file, or no file of a sane size, is refused and never waited for.
func TestHostileSources(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		syscall.Mkfifo(at("pipe"), 0o600), os.Symlink("loop", at("loop")), os.Symlink("pipe", at("to-pipe")), os.Mkdir(at("dir"), 0o700),
		os.WriteFile(at("sparse"), nil, 0o600), os.Truncate(at("sparse"), 1<<40), os.Symlink("/dev/zero", at("zero")), os.WriteFile(at("file"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"pipe": "no regular file", "to-pipe": "no regular file", "zero": "no regular file", "dir": "no regular file", "loop": "too many levels of symbolic links",
		"sparse": "1099511627776 bytes, at most", "missing": "no such file", "file/below": "not a directory", "../" + filepath.Base(dir) + "/pipe": "no regular file",
	} {
		for _, optional := range []string{"", "  optional: true\n"} {
			if name == "missing" && optional != "" {
				continue // that is what optional means
			}
			in := smallInput(t, aShelf(t))
			in.YAML = append(in.YAML, Source{at("b.yml"), []byte("files:\n- path: etc/a\n  source: " + name + "\n" + optional)})
			_, err := Build(t.Context(), in)
			if err == nil || !strings.Contains(err.Error(), at("b.yml")+":2: file etc/a: read source: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", name, err, want)
			}
			nothingLeft(t, in)
		}
	}
}

// TestHostileConfig: what an image says about itself gets no more trust than its layers.
func TestHostileConfig(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1.ConfigFile)
		want   string
	}{
		"aliases": {labelled(aliases("[x, x]", ", ")), "label org.mobyproject.config"},
		"used":    {labelled("env: &e [" + strings.Repeat("x, ", 2000) + "x]\nbinds: *e\nruntime:\n  mkdir: *e\n  binds: &b [" + strings.Repeat("*e, ", 2000) + "]\n"), "label org.mobyproject.config"},
		"itself":  {labelled("&a {env: *a}"), "label org.mobyproject.config"},
		"deep":    {labelled(strings.Repeat("[", 100_000)), "label org.mobyproject.config"},
		"machine": {func(c *v1.ConfigFile) { c.Architecture = "amd64\x1b[2J\n" }, `it is for "amd64\x1b[2J\n"`},
		"nothing": {func(c *v1.ConfigFile) { c.Config.Entrypoint = nil }, "has no command"},
	} {
		for _, mode := range []string{rootInitrd, rootSquashfs} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				s := rootShelf(t)
				s[victim] = imageOf(t, func(f *v1.ConfigFile) { f.Config.Entrypoint = []string{"/app"}; c.change(f) }, f("app=a"))
				in := smallInput(t, s)
				in.Rootfs = mode
				_, err := Build(t.Context(), in)
				if err == nil || !strings.Contains(err.Error(), "image "+victim) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 20_000 || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("error %.500v, want %q", err, c.want)
				}
				nothingLeft(t, in)
			})
		}
	}
}

func labelled(text string) func(*v1.ConfigFile) {
	return func(c *v1.ConfigFile) { c.Config.Labels = map[string]string{mobyLabel: text} }
}

// TestOddNames: names that Linux allows are kept, also by a second build that takes them from the cache.
func TestOddNames(t *testing.T) {
	odd := []string{"new\nline", "esc\x1b[2J", "latin\xfc", "latin\xfe", "-rf", "a b", "\\", "*", "\"", "\u2028", "\ufffd", "<&>", strings.Repeat("n", 255), "setuid"}
	files := []file{{name: "setuid", body: "s", mode: 0o6755}, {name: "to\xff->away\xfe"}, {name: "abs->/etc/shadow"}, {name: "up->../../../../etc/shadow"}}
	for _, n := range odd[:len(odd)-1] {
		files = append(files, file{name: n, body: n})
	}
	s := rootShelf(t)
	s[victim] = imageOf(t, entrypoint("/app"), files)
	s["lkv/runc:1"] = imageOf(t, nil, files)
	for _, mode := range []string{rootInitrd, rootCD} {
		in := smallInput(t, s)
		in.Rootfs = mode
		for _, build := range []string{"cold", "warm"} {
			in.YAML = []Source{{"worker.yml", []byte(strings.Replace(smallYAML, "contents: hello", "contents: "+build, 1))}}
			r := mustBuild(t, in)
			var got map[string]string
			if mode == rootInitrd {
				got = lines(readNewc(t, inflate(t, initrdOf(t, r.ISO))))
			} else {
				got, _ = squashLines(t, fileOf(t, r.ISO, rootdesc.OnMedium))
			}
			for _, dir := range []string{"", "containers/services/app/lower/"} {
				for _, n := range odd {
					if got[dir+n] == "" {
						t.Errorf("%s, %s: no %q", mode, build, dir+n)
					}
				}
				for n, target := range map[string]string{"to\xff": "away\xfe", "abs": "/etc/shadow", "up": "../../../../etc/shadow"} {
					if want := fmt.Sprintf("120777 0:0 %q %d", target, len(target)); got[dir+n] != want {
						t.Errorf("%s, %s: %q is %s, want %s", mode, build, dir+n, got[dir+n], want)
					}
				}
			}
			if want := "106755 0:0 "; !strings.HasPrefix(got["setuid"], want) {
				t.Errorf("setuid is %s", got["setuid"])
			}
		}
	}
}

func TestTextInJSON(t *testing.T) {
	want := []symlink{{"a", "b"}, {"\xfc", "\xff\x00"}, {"", "\x00"}, {"ü\n\u2028<", "\x0061"}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got []symlink
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var one text
	if json.Unmarshal([]byte(`"\u0000zz"`), &one) == nil {
		t.Error("bad escape accepted")
	}
}
