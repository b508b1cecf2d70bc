package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
)

func TestCheck(t *testing.T) {
	const k = "kernel:\n  image: lkv/kernel:1\n"
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"good":             {smallYAML, nil},
		"unknown top key":  {k + "onboots: []\n", []string{`f.yml:3: unknown key "onboots" (did you mean "onboot"?)`}},
		"unknown deep key": {k + "services:\n- name: a\n  image: b\n  capabilties: [all]\n", []string{`f.yml:6: unknown key "capabilties" in "services" (did you mean "capabilities"?)`}},
		"far from all":     {k + "zzzzzzzz: 1\n", []string{`f.yml:3: unknown key "zzzzzzzz"`}},
		"all at once": {k + "init: lkv/init:1\nservices:\n- name: 7\n  image: b\n  readonly: yes please\n", []string{
			`f.yml:3: "init" must be a list (lines beginning with "- "), not "lkv/init:1"`,
			`f.yml:5: "name" must be a string, not the number 7: put it in quotes: "7"`,
			`f.yml:7: "readonly" must be true or false, not "yes please"`}},
		"mode as number":   {k + "files:\n- path: a\n  contents: b\n  mode: 0644\n", []string{`f.yml:6: "mode" must be a string, not the number 0644: put it in quotes: "0644"`}},
		"mode not octal":   {k + "files:\n- path: a\n  contents: b\n  mode: \"9\"\n", []string{`f.yml:6: mode "9" is no octal number like "0644"`}},
		"empty list":       {k + "onboot:\n", []string{`f.yml:3: "onboot" must be a list (lines beginning with "- "), not nothing`}},
		"no name":          {k + "onboot:\n- image: b\n", []string{`f.yml:4: an entry of "onboot" has no name`}},
		"no image":         {k + "onboot:\n- name: b\n", []string{`f.yml:4: an entry of "onboot" has no image`}},
		"name with slash":  {k + "onboot:\n- name: a/b\n  image: c\n", []string{`f.yml:4: name "a/b" cannot be the name of a directory`}},
		"service twice":    {k + "services:\n- {name: a, image: b}\n- {name: a, image: c}\n", []string{`f.yml:5: service "a" is there twice, first in line 4`}},
		"bad reference":    {"kernel:\n  image: A:B:C\ninit: [\"x@sha256:1\"]\n", []string{`f.yml:2: image "A:B:C": could not parse reference: A:B:C`, `f.yml:3: image "x@sha256:1": could not parse reference: x@sha256:1`}},
		"key twice":        {k + "kernel: {image: x}\n", []string{`f.yml:3: key "kernel" is there twice`}},
		"key no name":      {k + "1: x\n", []string{`f.yml:3: a key must be a plain name`}},
		"not a mapping":    {"- a\n", []string{`f.yml:1: the file must be a mapping with keys like "files", not a list`}},
		"empty":            {"# nothing\n", []string{"f.yml: the file is empty"}},
		"syntax":           {k + "a: [b\n", []string{`f.yml:3: not readable as YAML: did not find expected ',' or ']'`}},
		"tab":              {"kernel:\n\timage: x\n", []string{`f.yml:2: not readable as YAML: found character that cannot start any token`}},
		"two documents":    {k + "---\n" + k, []string{`f.yml:3: a second YAML document: only one per file is used`}},
		"unknown anchor":   {"a: *b\n", []string{`f.yml: not readable as YAML: unknown anchor 'b' referenced`}},
		"file nothing":     {k + "files:\n- path: a\n", []string{`f.yml:4: a file needs one of contents, source, metadata and symlink (or directory: true)`}},
		"file both":        {k + "files:\n- {path: a, contents: b, source: c}\n", []string{`f.yml:4: a file has one of contents, source, metadata and symlink, this one has contents and source`}},
		"file up":          {k + "files:\n- {path: ../a, contents: b}\n", []string{`f.yml:4: path "../a": name with ".."`}},
		"file metadata":    {k + "files:\n- {path: a, metadata: xml}\n", []string{`f.yml:4: metadata is "json" or "yaml", not "xml"`}},
		"anchors are fine": {"kernel: &k {image: x}\nservices:\n- &s {name: a, image: b, env: [\"A=1\"]}\n- <<: *s\n  name: c\n", nil},
		"merged problems":  {k + "services:\n- &s {name: a, image: b, evn: []}\n- <<: *s\n  name: c\n", []string{`f.yml:4: unknown key "evn" in "services" (did you mean "env"?)`, `f.yml:4: unknown key "evn" in "services" (did you mean "env"?)`}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range Check("f.yml", []byte(c.yaml)) {
				got = append(got, p.String())
			}
			for i := range min(len(got), len(c.want)) {
				if strings.HasPrefix(got[i], c.want[i]) {
					got[i] = c.want[i] // parse errors carry more of the parser's words
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestExamples: every LinuxKit YAML this project ships passes.
func TestExamples(t *testing.T) {
	list, err := filepath.Glob("../specs/examples/*/*.yml")
	if err != nil || len(list) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, p := range list {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if bad := Check(p, data); bad != nil {
			t.Error(bad)
		}
	}
}

// TestSchemaMatchesLinuxKit gives moby one document per key we know: it must take each, and refuse the same key
// misspelled. So our table has no key too many; FuzzCheck looks for one too few.
func TestSchemaMatchesLinuxKit(t *testing.T) {
	for path, f := range everyKey("", topFields) {
		doc := nest(path, sample(f))
		if strings.HasPrefix(path, "/"+volumes) {
			if bad := Check("f.yml", []byte(doc)); bad != nil && !onlyMissing(bad) {
				t.Errorf("%s: %v\n%s", path, bad, doc)
			}
			continue
		}
		if _, err := moby.NewConfig([]byte(doc), nil); err != nil {
			t.Errorf("LinuxKit refuses %s: %v\n%s", path, err, doc)
		}
		if bad := Check("f.yml", []byte(doc)); bad != nil && !onlyMissing(bad) {
			t.Errorf("%s: %v\n%s", path, bad, doc)
		}
	}
}

// everyKey lists all keys as paths; "[]" stands for a list's element.
func everyKey(at string, o object) map[string]field {
	out := map[string]field{}
	for k, f := range o {
		p := at + "/" + k
		out[p] = f
		if f.kind == objects {
			p += "/[]"
		}
		for q, g := range everyKey(p, f.fields) {
			out[q] = g
		}
	}
	return out
}

// nest writes a flow-style YAML document in which path has the value. Lists of images get what they need.
func nest(path, value string) string {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	doc := value
	for i := len(parts) - 1; i >= 0; i-- {
		switch {
		case parts[i] == "[]" && i == 1 && parts[0] != "files":
			have := ""
			if i+1 < len(parts) && parts[i+1] != "name" {
				have += `"name": "n", `
			}
			if i+1 < len(parts) && parts[i+1] != "image" {
				have += `"image": "i", `
			}
			doc = "[{" + have + strings.TrimPrefix(doc, "{") + "]"
		case parts[i] == "[]":
			doc = "[" + doc + "]"
		default:
			doc = "{\"" + parts[i] + "\": " + doc + "}"
		}
	}
	return doc
}

func sample(f field) string {
	switch f.kind {
	case aBool:
		return "true"
	case anInt, anID:
		return "7"
	case someStrings:
		return `["a"]`
	case someIDs:
		return `[1, "a"]`
	case aMap:
		return `{"a": "b"}`
	case anObj:
		return "{}"
	case objects:
		return "[]"
	}
	return `"a"`
}

// onlyMissing: sample documents are incomplete on purpose.
func onlyMissing(list Problems) bool {
	for _, p := range list {
		if !strings.Contains(p.Text, "has no ") && !strings.Contains(p.Text, "needs one of") && !strings.Contains(p.Text, "octal") && !strings.Contains(p.Text, "metadata is") && !strings.Contains(p.Text, "filesystem") {
			return false
		}
	}
	return true
}

// FuzzCheck: YAML without problems is never refused by LinuxKit for its shape, and nothing panics.
func FuzzCheck(f *testing.F) {
	f.Add(smallYAML)
	f.Add("a: &a [*a]\n")
	f.Add("kernel: {image: x}\nservices:\n- &s {name: a, image: b}\n- <<: [*s, {env: []}]\n  name: c\n")
	f.Add("kernel: {image: 2001-01-01}\nfiles: [{path: a, contents: !!str 1}]\n")
	f.Add("? [a]\n: b\n")
	f.Add("volumes: [&v {name: a, image: b, readonly: true, platforms: [linux/amd64]}, <<: *v]\n")
	f.Add("kernel: {image: x}\n<<: {volumes: [{name: a}]}\n")
	f.Fuzz(func(t *testing.T, doc string) {
		if Check("f.yml", []byte(doc)) != nil {
			return
		}
		_, rest, err := takeVolumes([]byte(doc))
		if err != nil {
			t.Fatalf("read volumes Check lets through: %v", err)
		}
		if _, err := moby.NewConfig(rest, nil); err != nil && strings.Contains(err.Error(), "invalid configuration file") {
			t.Errorf("LinuxKit refuses what Check lets through: %v", err)
		}
	})
}

func TestSuggest(t *testing.T) {
	for in, want := range map[string]string{"onboots": "onboot", "service": "services", "Kernel": "kernel", "inti": "init", "file": "files", "q": "", "volume": "volumes"} {
		got := suggest(in, topFields)
		if want == "" && got != "" || want != "" && !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("suggest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLabelIsChecked(t *testing.T) {
	if err := checkLabel("x", `{"capabilities":["all"],"runtime":{"mkdir":["/a"]}}`); err != nil {
		t.Error(err)
	}
	for _, l := range []string{`{"capabilitys":[]}`, `{"name":"x"}`, `[]`, `{`} {
		if err := checkLabel("x/y:1", l); err == nil || !strings.Contains(err.Error(), "image x/y:1: label org.mobyproject.config") {
			t.Errorf("checkLabel(%s) = %v", l, err)
		}
	}
}

// A few lines can stand for any amount of YAML, or for themselves: each is refused in bounded time.
func TestBombs(t *testing.T) {
	merges, last := "a: &a {name: x}\n", "a"
	for _, next := range "bcdefghij" {
		merges += fmt.Sprintf("%c: &%c {<<: [%s]}\n", next, next, strings.Repeat("*"+last+", ", 9)+"*"+last)
		last = string(next)
	}
	for name, text := range map[string]string{
		"merges": merges + "services:\n  - <<: *j\n",
		"itself": "services:\n  - &a\n    <<: [" + strings.Repeat("*a, ", 9) + "*a]\n",
	} {
		done := make(chan Problems, 1)
		go func() { done <- Check("x.yml", []byte(text)) }()
		select {
		case found := <-done:
			if len(found) != 1 || !strings.Contains(found[0].Text, "expand to more than") {
				t.Errorf("%s: %v", name, found)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: still at it after 30 s", name)
		}
	}
}
