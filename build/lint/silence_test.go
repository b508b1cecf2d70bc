package lint

import (
	"strings"
	"testing"
	"time"
)

func TestSilence(t *testing.T) {
	for name, x := range map[string]struct {
		yaml string
		want string // codes found, in order
	}{
		"its line":           {"kernel:\n  cmdline: quiet # lkv:ignore L24 no console here\n", ""},
		"line above":         {"kernel:\n  # lkv:ignore L24 no console here\n  cmdline: quiet\n", ""},
		"comments between":   {"kernel:\n  # lkv:ignore L24 no console here\n  # and more\n\n  cmdline: quiet\n", ""},
		"two lines above":    {"# lkv:ignore L24 no console here\nkernel:\n  cmdline: quiet\n", "L24"},
		"line below":         {"kernel:\n  cmdline: quiet\n  # lkv:ignore L24 no console here\n", "L24"},
		"another code":       {"kernel:\n  cmdline: quiet # lkv:ignore L23 no console here\n", "L24"},
		"several codes":      {"kernel:\n  cmdline: root=x # lkv:ignore L23, L24 a test machine\n", ""},
		"one of two":         {"kernel:\n  cmdline: root=x # lkv:ignore L23 a test machine\n", "L24"},
		"no reason":          {"kernel:\n  cmdline: quiet # lkv:ignore L24\n", "L24 L35"},
		"no code":            {"kernel:\n  cmdline: quiet # lkv:ignore all of it\n", "L24 L35"},
		"unknown code":       {"kernel:\n  cmdline: quiet # lkv:ignore L99 why not\n", "L24 L35"},
		"errors, too":        {"onboot:\n  - name: d\n    image: lkv/dhcp:1 # lkv:ignore L29 our own build ends\n", ""},
		"inside a file":      {"files:\n  - path: a\n    contents: |\n      # lkv:ignore\n", ""},
		"inside quotes":      {"files:\n  - path: a\n    contents: \"x\n\n      # lkv:ignore\n      y\"\n", ""},
		"after a file":       {"files:\n  - path: a\n    contents: |\n      x\n# lkv:ignore\n", "L35"},
		"inside a word":      {"kernel:\n  cmdline: console=tty0#lkv:ignore\n", ""},
		"spelled otherwise":  {"kernel:\n  cmdline: quiet #lkv:ignore L24: no console\n", ""},
		"with line ends CR ": {"kernel:\r\n  cmdline: quiet # lkv:ignore L24 none\r\n", ""},
	} {
		var codes []string
		for _, f := range Check(example(x.yaml+"init: ['lkv/init:1', 'lkv/runc:1']\n"), Context{}) {
			codes = append(codes, f.Code)
		}
		if got := strings.Join(codes, " "); got != x.want {
			t.Errorf("%s: found %q, want %q", name, got, x.want)
		}
	}
}

// Small files that expand to anything, or contain themselves, are looked at for a bounded time.
func TestBombs(t *testing.T) {
	deep := "a0: &a0 [x]\n"
	for i := 1; i < 40; i++ {
		deep += strings.ReplaceAll("aN: &aN [*aM, *aM, *aM, *aM, *aM, *aM, *aM, *aM]\n", "N", string(rune('A'+i)))
		deep = strings.ReplaceAll(deep, "aM", "a"+map[bool]string{true: "0", false: string(rune('A' + i - 1))}[i == 1])
	}
	for name, text := range map[string]string{
		"merges":      bomb,
		"lists":       deep + "services: *aZ\nonboot: *aY\ninit: *aX\n",
		"wide":        "a: &a [" + strings.Repeat("{name: x, image: y}, ", 2000) + "]\nservices: *a\nonboot: *a\nonshutdown: *a\nfiles: *a\n",
		"itself":      "services: &a\n  - *a\n",
		"merges self": "services:\n  - &a\n    name: x\n    image: y\n    <<: *a\n",
		"resources":   "x: &x {memory: {limit: 1}}\nservices: [" + strings.Repeat("{name: a, image: b, resources: *x}, ", 3000) + "]\n",
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan []Finding, 1)
			go func() { done <- Check(example(text), Context{}) }()
			select {
			case found := <-done:
				if name == "merges" && len(only(found, "L36")) != 1 {
					t.Error("nobody is told that the file was not looked at whole")
				}
			case <-time.After(20 * time.Second):
				t.Fatal("still at it after 20 s")
			}
		})
	}
}

// Check and Apply do not panic, and what was fixed stays fixed.
func FuzzCheck(f *testing.F) {
	for _, r := range Rules() {
		f.Add(r.Bad)
		f.Add(r.Good)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found := Check(example(text), dockerBlock)
		for _, x := range found {
			if e := x.Edit; e != nil && text[e.Start:e.End] != e.Old {
				t.Fatalf("the edit %+v is not about %q", e, text[e.Start:e.End])
			}
		}
		Apply([]byte(text), found)
	})
}
