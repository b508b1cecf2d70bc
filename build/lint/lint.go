// Package lint finds what is valid in LinuxKit YAML and still goes wrong: data in memory, disks wiped at every boot,
// steps that never end. It reads the YAML as it is written, needs no image and no network, and explains each finding.
//
// Not found: what only an image's own label says, and anything that LinuxKit's schema refuses (build.Check does).
package lint

import (
	"cmp"
	"slices"

	"gopkg.in/yaml.v3"
)

// Severities of a finding.
const (
	Warning = "warning" // may be right where it stands
	Error   = "error"   // never what anybody wants
)

// Source is one LinuxKit YAML file. Files of one image append to each other in order.
type Source struct {
	Name string // path, as it shall stand in findings
	Data []byte
}

// Context is what only the caller knows about an image. The zero value knows nothing.
type Context struct {
	Persist []Persist
	Rootfs  string                // "initrd", "squashfs", "cd" or "" when unknown
	Fleets  []Fleet               // that use the image
	Need    int64                 // bytes of memory that the last build of the image needs to boot; 0 unknown
	Pinned  func(ref string) bool // whether the lock file pins a reference as written; nil pins none
	Format  string                // reference of the linuxkit/format image that lkv was tested with
	Mount   string                // the same for linuxkit/mount
}

// Persist is one persist block of the HCL.
type Persist struct{ Mount, Label, Filesystem, Via string }

// Fleet is one fleet of VMs that boot the image.
type Fleet struct {
	Name   string
	Memory int64 // bytes per VM; 0 unknown
	File   string
	Line   int
	Column int
}

// Finding is one trap. Line and Column count from 1; Line is 0 when no line is to blame.
type Finding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"` // Warning or Error
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Text     string `json:"text"`           // what
	Why      string `json:"why"`            // what happens because of it
	Fix      string `json:"fix"`            // what to write
	Edit     *Edit  `json:"edit,omitempty"` // set when the fix is safe to make without asking
	Source   string `json:"-"`              // the line; empty when it would show a secret
}

// Rule is one kind of finding.
type Rule struct {
	Code     string
	Title    string
	Severity string
	Why      string // what happens, one or two sentences
	Fix      string // what to write, where a finding has nothing better to say
	Given    string // what the examples assume beside the YAML; empty: nothing
	Bad      string // YAML that has the finding
	Good     string // YAML that has not

	check func(*pass)
	given Context // of the examples
}

// Rules returns every rule in the order of codes.
func Rules() []Rule {
	list := slices.Concat(diskRules(), mountRules(), dataRules(), fileRules(), nameRules(), kernelRules(), imageRules(), ignoredRules(), textRules())
	slices.SortFunc(list, func(a, b Rule) int { return cmp.Compare(a.Code, b.Code) })
	return list
}

// RuleOf returns the rule with that code.
func RuleOf(code string) (Rule, bool) {
	list := Rules()
	i := slices.IndexFunc(list, func(r Rule) bool { return r.Code == code })
	if i < 0 {
		return Rule{}, false
	}
	return list[i], true
}

// Check returns the findings of the files of one image, in the order of files and lines. Comments of the form
// "# lkv:ignore L01 reason" silence findings of their own or the next line. A file that is no YAML mapping has no
// findings: build.Check says what is wrong with it.
func Check(files []Source, ctx Context) []Finding {
	p := newPass(files, ctx)
	for _, r := range Rules() {
		p.rule = r
		for _, d := range p.docs {
			d.left = maxVisits
		}
		r.check(p)
	}
	order := map[string]int{}
	for i, d := range p.docs {
		order[d.name] = i + 1
	}
	found := p.unsilenced()
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(found, func(a, b Finding) bool {
		return a.Code == b.Code && a.File == b.File && a.Line == b.Line && a.Column == b.Column && a.Text == b.Text
	})
}

// say notes a finding of the rule at hand. An empty fix means the rule's own.
func (p *pass) say(d *doc, n *yaml.Node, text, fix string, edit *Edit) {
	f := Finding{Code: p.rule.Code, Severity: p.rule.Severity, Text: text, Why: p.rule.Why, Fix: cmp.Or(fix, p.rule.Fix), Edit: edit}
	if d != nil {
		f.File = d.name
		if d.aliased {
			f.Edit = nil // what an anchor stands for is used elsewhere, too
		}
		if n != nil {
			f.Line, f.Column = n.Line, n.Column
			f.Source = d.line(n.Line)
		}
	}
	p.found = append(p.found, f)
}
