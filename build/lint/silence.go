package lint

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	silence = regexp.MustCompile(`(?:^|\s)#\s*lkv:ignore\b[ \t]*(.*)$`)
	codes   = regexp.MustCompile(`^(L[0-9]{2}(?:[ \t]*,[ \t]*L[0-9]{2})*)(?:[ \t:,]+(.*))?$`)
)

// comment is one "# lkv:ignore" comment.
type comment struct {
	line, column int
	applies      int // line
	codes        []string
	reason       string
}

// comments returns the "# lkv:ignore" comments of a document.
func (d *doc) comments() []comment {
	var out []comment
	for l := 1; l <= len(d.starts); l++ {
		text := d.line(l)
		m := silence.FindStringSubmatchIndex(text)
		if m == nil || d.inside[l] {
			continue
		}
		hash := m[0] + strings.Index(text[m[0]:], "#")
		c := comment{line: l, column: len([]rune(text[:hash])) + 1, applies: l}
		if strings.TrimSpace(text[:hash]) == "" {
			c.applies = d.next(l)
		}
		if parts := codes.FindStringSubmatch(strings.TrimSpace(text[m[2]:])); parts != nil {
			for _, code := range strings.Split(parts[1], ",") {
				c.codes = append(c.codes, strings.TrimSpace(code))
			}
			c.reason = strings.TrimSpace(parts[2])
		}
		out = append(out, c)
	}
	return out
}

// next returns the next line that is neither empty nor a comment.
func (d *doc) next(line int) int {
	for l := line + 1; l <= len(d.starts); l++ {
		if text := strings.TrimSpace(d.line(l)); text != "" && text[0] != '#' {
			return l
		}
	}
	return 0
}

// unsilenced returns the findings that no comment silences, without the lines that show secrets.
func (p *pass) unsilenced() []Finding {
	type place struct {
		file string
		line int
		code string
	}
	quiet, hidden := map[place]bool{}, map[place]bool{}
	for _, d := range p.docs {
		for _, c := range d.comments() {
			for _, code := range c.codes {
				if c.reason != "" {
					quiet[place{d.name, c.applies, code}] = true
				}
			}
		}
		for l := range d.secret {
			hidden[place{d.name, l, ""}] = true
		}
	}
	out := slices.DeleteFunc(p.found, func(f Finding) bool { return quiet[place{f.File, f.Line, f.Code}] })
	for i, f := range out {
		if hidden[place{f.File, f.Line, ""}] {
			out[i].Source = ""
		}
	}
	return out
}

// textRules are about the text of the files themselves.
func textRules() []Rule {
	return []Rule{{
		Code: "L35", Title: "a comment silences without saying why", Severity: Warning,
		Why:   "A silenced finding is looked at again by whoever comes later, and needs the reason then. The comment silences nothing as it stands.",
		Fix:   "Write # lkv:ignore, the code, and a reason.",
		Bad:   "kernel:\n  cmdline: quiet # lkv:ignore L24\n",
		Good:  "kernel:\n  cmdline: quiet # lkv:ignore L24 this machine has no console\n",
		check: badComments,
	}, {
		Code: "L36", Title: "aliases expand to more than is checked", Severity: Warning,
		Why:  "Aliases and merge keys let a small file stand for a huge document. Checking stopped half way, so the other findings are incomplete.",
		Fix:  "Write the entries out instead of nesting aliases.",
		Bad:  bomb,
		Good: "x: &x [a]\ny: [*x, *x]\n",
		check: func(p *pass) { // the last rule, when every other one has looked
			for _, d := range p.docs {
				if d.over {
					p.say(d, d.root, "the document expands to more than lint looks at", "", nil)
				}
			}
		},
	}}
}

// bomb is an example of nested merges: 8 lines, 10^7 mappings.
const bomb = `a: &a {name: x}
b: &b {<<: [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]}
c: &c {<<: [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]}
d: &d {<<: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]}
e: &e {<<: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]}
f: &f {<<: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]}
services:
  - <<: [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]
`

func badComments(p *pass) {
	for _, d := range p.docs {
		for _, c := range d.comments() {
			n := &yaml.Node{Line: c.line, Column: c.column}
			switch {
			case len(c.codes) == 0:
				p.say(d, n, "the comment names no code", "", nil)
			case c.reason == "":
				p.say(d, n, "the comment gives no reason for ignoring "+strings.Join(c.codes, ", "), "", nil)
			}
			for _, code := range c.codes {
				if _, ok := RuleOf(code); !ok {
					p.say(d, n, "there is no rule "+code, "Take the code from the finding that it shall silence.", nil)
				}
			}
		}
	}
}
