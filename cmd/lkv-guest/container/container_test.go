package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "000-persist")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a bundle without config.json was loaded")
	}
	write(t, dir, "config.json", `{"ociVersion":"1.0.2","annotations":{"lkv.required":"true","lkv.grace":"30"}}`)
	b, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != "000-persist" || !b.Required() || b.Always() || b.Grace() != 30*time.Second {
		t.Errorf("%s required=%t always=%t grace=%s", b.Name, b.Required(), b.Always(), b.Grace())
	}
	write(t, dir, "runtime.json", `{"mkdir":["/run/x"],"interfaces":[{"name":"eth0","createInRoot":false}],"bindNS":{"net":"/run/netns/x"},"namespace":"n"}`)
	if b, err = Load(dir); err != nil {
		t.Fatal(err)
	}
	want := Runtime{Mkdir: []string{"/run/x"}, Interfaces: []Interface{{Name: "eth0"}}, BindNS: Namespaces{Net: "/run/netns/x"}, Namespace: "n"}
	if d := cmp.Diff(want, b.Runtime); d != "" {
		t.Error(d)
	}
	write(t, dir, "runtime.json", `{"interfaces":[{"name":"v0","add":"veth"}]}`)
	if _, err := Load(dir); err == nil {
		t.Error("a veth without a peer was taken")
	}
}

func TestGrace(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": DefaultGrace, "x": DefaultGrace, "-1": DefaultGrace, "0": 0, "45": 45 * time.Second, "999999": maxGrace,
	} {
		b := Bundle{Spec: specs.Spec{Annotations: map[string]string{"lkv.grace": text}}}
		if got := b.Grace(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestCalls pins how entries of runtime.json become mount(2) calls; the first three are LinuxKit's own layout.
func TestCalls(t *testing.T) {
	for name, c := range map[string]struct {
		mount specs.Mount
		want  []call
	}{
		"tmpfs":   {specs.Mount{Source: "tmpfs", Type: "tmpfs", Destination: "/c/tmp"}, []call{{"tmpfs", "/c/tmp", "tmpfs", 0, ""}}},
		"private": {specs.Mount{Destination: "/c/tmp", Options: []string{"remount", "private"}}, []call{{"", "/c/tmp", "", unix.MS_PRIVATE, ""}}},
		"overlay": {specs.Mount{Source: "overlay", Type: "overlay", Destination: "/c/rootfs", Options: []string{"lowerdir=/c/lower", "upperdir=/c/tmp/upper"}},
			[]call{{"overlay", "/c/rootfs", "overlay", 0, "lowerdir=/c/lower,upperdir=/c/tmp/upper"}}},
		"bind": {specs.Mount{Source: "/a", Destination: "/b", Options: []string{"bind"}}, []call{{"/a", "/b", "", unix.MS_BIND, ""}}},
		"read-only shared bind": {specs.Mount{Source: "/a", Destination: "/b", Options: []string{"rbind", "ro", "nosuid", "rshared"}}, []call{
			{"/a", "/b", "", unix.MS_BIND | unix.MS_REC, ""},
			{"", "/b", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID, ""},
			{"", "/b", "", unix.MS_SHARED | unix.MS_REC, ""}}},
		"remount": {specs.Mount{Destination: "/b", Options: []string{"remount", "ro"}}, []call{{"", "/b", "", unix.MS_REMOUNT | unix.MS_RDONLY, ""}}},
	} {
		if d := cmp.Diff(c.want, calls(c.mount), cmp.AllowUnexported(call{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestOptionsLastWins: of an option and its opposite the later counts, and what is no flag reaches the file system.
func TestOptionsLastWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.SampledFrom([]string{"ro", "rw", "noatime", "atime", "size=1m", "discard", "rslave", ""})).Draw(t, "options")
		flags, propagation, data := Options(list)
		want, text, slaves := uintptr(0), "", 0
		for _, o := range list {
			switch o {
			case "ro":
				want |= unix.MS_RDONLY
			case "rw":
				want &^= unix.MS_RDONLY
			case "noatime":
				want |= unix.MS_NOATIME
			case "atime":
				want &^= unix.MS_NOATIME
			case "rslave":
				slaves++
			case "":
			default:
				if text != "" {
					text += ","
				}
				text += o
			}
		}
		if flags != want || data != text || len(propagation) != slaves {
			t.Fatalf("%q: %#x %q %d, want %#x %q %d", list, flags, data, len(propagation), want, text, slaves)
		}
	})
}

func TestOverlayDirectoriesAreMade(t *testing.T) {
	dir := t.TempDir()
	m := specs.Mount{Type: "overlay", Destination: dir, Options: []string{"lowerdir=/l", "upperdir=/t/upper", "workdir=/t/work"}}
	if d := cmp.Diff([]string{"/t/upper", "/t/work"}, directories(m)); d != "" {
		t.Error(d)
	}
}

// TestDeafStatus: only the first process of its own PID namespace without a handler drops SIGTERM.
func TestDeafStatus(t *testing.T) {
	const handler, none = "0000000000004000", "0000000000000000"
	for _, c := range []struct {
		ns, mask string
		want     bool
	}{
		{"50\t1", none, true}, {"50\t1", handler, false}, {"50", none, false}, {"50\t7", none, false}, {"50\t1", "garbage", false},
	} {
		status := "Name:\tx\nNSpid:\t" + c.ns + "\nSigCgt:\t" + c.mask + "\n"
		if got := deafStatus(status); got != c.want {
			t.Errorf("%q: %t, want %t", status, got, c.want)
		}
	}
	if deafStatus("") {
		t.Error("a process nothing is known about must get its grace")
	}
}

func FuzzParseRuntime(f *testing.F) {
	f.Add([]byte(`{"mounts":[{"destination":"/a","options":["remount","private"]}],"interfaces":[{"name":"a","add":"veth","peer":"b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRuntime(data)
		if err != nil {
			return
		}
		for _, m := range r.Mounts {
			calls(m)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRuntime(text)
		if err != nil {
			t.Fatal(err)
		}
		second, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(text), string(second)); d != "" {
			t.Error(d)
		}
	})
}
