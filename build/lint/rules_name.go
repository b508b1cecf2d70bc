package lint

import (
	"cmp"
	"fmt"
	"strings"
)

// nameRules are about names and references.
func nameRules() []Rule {
	const twoFiles = "services:\n  - {name: web, image: \"example/web:1\"}\n  - {name: %s, image: \"example/web:2\"}\n"
	return []Rule{{
		Code: "L17", Title: "an image reference that moves", Severity: Warning,
		Why:   "Without a tag, or with latest, another image is built tomorrow from the same YAML, and nobody can tell which one a machine runs.",
		Fix:   "Write a version, or pin the reference: lkv lock.",
		Bad:   "services:\n  - name: web\n    image: nginx\n",
		Good:  "services:\n  - name: web\n    image: nginx:1.29\n",
		check: moving,
	}, {
		Code: "L20", Title: "two services of one name", Severity: Error,
		Why:   "A service's name is its directory and its container: an image cannot have two of them. Files of one image append to each other, they do not replace entries.",
		Fix:   "Rename one, or take it out of one of the files.",
		Bad:   fmt.Sprintf(twoFiles, "web"),
		Good:  fmt.Sprintf(twoFiles, "web2"),
		check: func(p *pass) { p.twice("services", func(s string) string { return s }) },
	}, {
		Code: "L21", Title: "two steps of one name", Severity: Warning,
		Why:  "Logs and containers are named after the step, and a user name in uid means the last of the two.",
		Fix:  "Rename one.",
		Bad:  "onboot:\n  - {name: set, image: \"example/a:1\"}\n  - {name: set, image: \"example/b:1\"}\n",
		Good: "onboot:\n  - {name: set-a, image: \"example/a:1\"}\n  - {name: set-b, image: \"example/b:1\"}\n",
		check: func(p *pass) {
			p.twice("onboot", func(s string) string { return s })
			p.twice("onshutdown", func(s string) string { return s })
		},
	}, {
		Code: "L22", Title: "names that differ only in case", Severity: Warning,
		Why:   "They are different services with different data, and one of them is most likely a slip.",
		Fix:   "Use one spelling, or names that differ more.",
		Bad:   fmt.Sprintf(twoFiles, "Web"),
		Good:  fmt.Sprintf(twoFiles, "web2"),
		check: func(p *pass) { p.twice("services", strings.ToLower) },
	}}
}

// twice finds names of a section that are the same in some spelling. Of a spelling that changes names it does not
// find those that are the same without it.
func (p *pass) twice(section string, spell func(string) string) {
	first := map[string]*entry{}
	plain := spell("A") == "A"
	for _, e := range p.section(section) {
		before := first[spell(e.name)]
		if before == nil {
			first[spell(e.name)] = e
			continue
		}
		if e.name == "" || !plain && before.name == e.name {
			continue
		}
		n := cmp.Or(e.fields["name"], e.n)
		p.say(e.d, n, fmt.Sprintf("%q is there already as %q: %s:%d", e.name, before.name, before.d.name, cmp.Or(before.fields["name"], before.n).Line), "", nil)
	}
}

func moving(p *pass) {
	var refs []reference
	for _, k := range p.kernel {
		refs = append(refs, refer(at{k.d, k.d.fields(k.n)["image"]}))
	}
	for _, a := range p.init {
		refs = append(refs, refer(a))
	}
	for _, e := range p.entries {
		refs = append(refs, e.image)
	}
	for _, r := range refs {
		if r.n == nil || r.fixed || r.tag != "latest" || p.Pinned != nil && p.Pinned(r.text) {
			continue
		}
		what := "has no version"
		if strings.HasSuffix(r.text, ":latest") {
			what = "is whatever is latest"
		}
		p.say(r.d, r.n, r.text+" "+what, "", nil)
	}
}
