package lint

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"
)

// Safe edits change what they are about and nothing else, in any layout; where that is not sure there is no edit.
func TestEdits(t *testing.T) {
	const force = "onboot:\n  - name: f\n    image: linuxkit/format:1\n    command: "
	for name, x := range map[string]struct{ code, before, after string }{
		"flow, middle":          {"L02", force + "[\"format\", \"-force\", \"-label\", \"x\"] # why\n", force + "[\"format\", \"-label\", \"x\"] # why\n"},
		"flow, last":            {"L02", force + "[format, -label, x, -force]\n", force + "[format, -label, x]\n"},
		"flow, over lines":      {"L02", force + "[format, -force,\n      -label, x]\n", force + "[format,\n      -label, x]\n"},
		"flow, alone on a line": {"L02", force + "[format,\n      -force,\n      -label, x]\n", force + "[format,\n      -force,\n      -label, x]\n"},
		"block":                 {"L02", force + "\n      - format\n      - -force\n      - -label # keep\n      - x\n", force + "\n      - format\n      - -label # keep\n      - x\n"},
		"block with comment":    {"L02", force + "\n      - format\n      - -force # wipe\n", force + "\n      - format\n      - -force # wipe\n"},
		"block, CRLF":           {"L02", strings.ReplaceAll(force+"\n      - format\n      - '-force'\n", "\n", "\r\n"), strings.ReplaceAll(force+"\n      - format\n", "\n", "\r\n")},
		"block, no newline":     {"L02", force + "\n      - format\n      - -force", force + "\n      - format\n"},
		"escaped":               {"L02", force + `[format, "\x2dforce"]`, force + `[format, "\x2dforce"]`},
		"umlauts before":        {"L02", "onboot: [{name: \"äöü\", image: 'linuxkit/format:1', command: [format, -force]}]", "onboot: [{name: \"äöü\", image: 'linuxkit/format:1', command: [format]}]"},
		"through an alias":      {"L02", "services: []\nonboot:\n  - {name: f, image: 'linuxkit/format:1', command: &c [format, -force]}\n  - {name: g, image: 'linuxkit/format:1', command: *c}\n", ""},

		"uid":          {"L19", "services: [{name: a, image: 'a:1', binds: ['/var/lib/docker:/x'], uid: \"a\", gid: a}]", "services: [{name: a, image: 'a:1', binds: ['/var/lib/docker:/x'], uid: 100, gid: 100}]"},
		"uid in block": {"L19", "services:\n  - name: a\n    image: a:1\n    uid: a # owner\n    binds:\n      - /var/lib/docker:/x\n", "services:\n  - name: a\n    image: a:1\n    uid: 100 # owner\n    binds:\n      - /var/lib/docker:/x\n"},

		"dhcp":         {"L29", "onboot:\n- name: d\n  image: lkv/dhcp:1 # one\n  net: host\n", "onboot:\n- name: d\n  image: lkv/dhcp:1 # one\n  command: " + oneShot + "\n  net: host\n"},
		"dhcp, CRLF":   {"L29", "onboot:\r\n  - image: lkv/dhcp:1\r\n    name: d\r\n", "onboot:\r\n  - image: lkv/dhcp:1\r\n    command: " + oneShot + "\r\n    name: d\r\n"},
		"dhcp at end":  {"L29", "onboot:\n  - name: d\n    image: lkv/dhcp:1", "onboot:\n  - name: d\n    image: lkv/dhcp:1\n    command: " + oneShot},
		"dhcp in flow": {"L29", "onboot: [{name: d, image: 'lkv/dhcp:1'}]", ""},

		"trust":           {"L32", "# head\ntrust:\n  org:\n    - a\n\n# about init\ninit: [a]\n", "# head\n\n# about init\ninit: [a]\n"},
		"trust at end":    {"L32", "init: [a]\ntrust: {org: [a,\n  b]}\n# end\n", "init: [a]\n# end\n"},
		"trust, indented": {"L32", " init: [a]\n trust:\n   org: [a]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if x.after == "" {
				x.after = x.before
			}
			all := only(Check(example(x.before), dockerBlock), x.code)
			if len(all) == 0 {
				t.Fatalf("%s is not found", x.code)
			}
			got, done := Apply([]byte(x.before), all)
			if d := cmp.Diff(x.after, string(got)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if left := only(Check(example(string(got)), dockerBlock), x.code); len(done) > 0 && len(left) > 0 {
				t.Errorf("still found: %s", render(left))
			}
			again, _ := Apply(got, only(Check(example(string(got)), dockerBlock), x.code))
			if string(again) != string(got) {
				t.Errorf("a second time it becomes\n%s", again)
			}
		})
	}
}

// Edits that do not fit the data, overlap or contradict each other are left out.
func TestApplyIsCareful(t *testing.T) {
	f := func(start, end int, from, to string) Finding { return Finding{Edit: &Edit{start, end, from, to}} }
	for name, x := range map[string]struct {
		edits []Finding
		want  string
		done  int
	}{
		"none":          {nil, "abcdef", 0},
		"two":           {[]Finding{f(4, 5, "e", "E"), f(0, 1, "a", "")}, "bcdEf", 2},
		"stale":         {[]Finding{f(0, 1, "x", "y")}, "abcdef", 0},
		"beyond":        {[]Finding{f(5, 9, "f", "y"), f(-1, 0, "", "y"), f(3, 2, "", "y")}, "abcdef", 0},
		"overlapping":   {[]Finding{f(0, 3, "abc", "1"), f(2, 4, "cd", "2")}, "1def", 1},
		"the same":      {[]Finding{f(0, 1, "a", "1"), f(0, 1, "a", "1")}, "1bcdef", 1},
		"contradicting": {[]Finding{f(0, 1, "a", "1"), f(0, 1, "a", "2")}, "abcdef", 0},
		"insertions":    {[]Finding{f(6, 6, "", "x"), f(6, 6, "", "x")}, "abcdefx", 1},
		"touching":      {[]Finding{f(0, 1, "a", "1"), f(1, 2, "b", "2")}, "12cdef", 2},
	} {
		got, done := Apply([]byte("abcdef"), x.edits)
		if string(got) != x.want || len(done) != x.done {
			t.Errorf("%s: %q with %d edits, want %q with %d", name, got, len(done), x.want, x.done)
		}
	}
}

// Whatever the layout, an edited file is YAML that says the same but for the flag.
func TestForceIsDroppedEverywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := []string{"format"}
		for range rapid.IntRange(0, 3).Draw(t, "before") {
			words = append(words, "-verbose")
		}
		words = append(words, "-force")
		for range rapid.IntRange(0, 3).Draw(t, "after") {
			words = append(words, "-verbose")
		}
		quote := rapid.SampledFrom([]string{"", "'", `"`})
		var b strings.Builder
		b.WriteString("onboot:\n  - name: f\n    image: linuxkit/format:1\n    command:")
		flow := rapid.Bool().Draw(t, "flow")
		for i, w := range words {
			q := quote.Draw(t, "quote")
			switch {
			case !flow:
				b.WriteString("\n      - " + q + w + q)
			case i == 0:
				b.WriteString(" [" + q + w + q)
			default:
				b.WriteString("," + strings.Repeat(" ", rapid.IntRange(1, 3).Draw(t, "space")) + q + w + q)
			}
		}
		if flow {
			b.WriteString("]")
		}
		b.WriteString("\nservices: []\n")
		got, done := Apply([]byte(b.String()), only(Check(example(b.String()), Context{}), "L02"))
		var m struct {
			Onboot []struct{ Command []string }
		}
		if err := yaml.Unmarshal(got, &m); err != nil || len(done) != 1 {
			t.Fatalf("%d edits, %v:\n%s\n%s", len(done), err, b.String(), got)
		}
		want := strings.Replace(strings.Join(words, " "), " -force", "", 1)
		if strings.Join(m.Onboot[0].Command, " ") != want {
			t.Fatalf("%q, want %q", m.Onboot[0].Command, want)
		}
	})
}
