package specs

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Problem is one thing that is wrong, or not possible yet, in a file. A warning is one that may be meant.
type Problem struct {
	Pos     Pos    `json:"pos"`
	Summary string `json:"summary"` // a few words
	Detail  string `json:"detail"`  // one or two sentences, with what to write instead
	Warning bool   `json:"warning,omitempty"`
	Source  string `json:"-"` // the line at Pos with secrets starred out; empty when there is none
	Width   int    `json:"-"` // characters of Source, from Pos.Column on, that are meant
}

// String renders the problem with its source line and a caret, without a final newline.
func (p Problem) String() string {
	var b strings.Builder
	if at := p.Pos.String(); at != "" {
		b.WriteString(at + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Summary)
	if p.Source != "" {
		num := fmt.Sprintf("%5d", p.Pos.Line)
		fmt.Fprintf(&b, "\n%s | %s", num, p.Source)
		fmt.Fprintf(&b, "\n%s | %s%s", strings.Repeat(" ", len(num)), indentOf(p.Source, p.Pos.Column-1), strings.Repeat("^", max(1, p.Width)))
	}
	if p.Detail != "" {
		b.WriteString("\n      " + strings.ReplaceAll(p.Detail, "\n", "\n      "))
	}
	return b.String()
}

// indentOf returns white space as wide as the first n characters of line; tabs stay tabs.
func indentOf(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n <= 0 {
			break
		}
		n--
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Error is every problem of a spec, warnings among them, in the order of the files.
type Error struct{ Problems []Problem }

// Error renders all problems, one paragraph each, and how many are problems and how many warnings.
func (e *Error) Error() string {
	var b strings.Builder
	warnings := 0
	for _, p := range e.Problems {
		b.WriteString(p.String() + "\n\n")
		if p.Warning {
			warnings++
		}
	}
	var sums []string
	if wrong := len(e.Problems) - warnings; wrong > 0 {
		sums = append(sums, number(wrong, "problem"))
	}
	if warnings > 0 {
		sums = append(sums, number(warnings, "warning"))
	}
	return b.String() + strings.Join(sums, ", ")
}

func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// problemsOf converts diagnostics, and sorts them. It drops their evaluation context, which would print the values of
// variables.
func problemsOf(diags hcl.Diagnostics, src map[string][]byte) []Problem {
	var list []Problem
	for _, d := range diags {
		p := Problem{Summary: d.Summary, Detail: d.Detail, Warning: d.Severity == hcl.DiagWarning}
		if d.Subject != nil {
			p.Pos = posOf(*d.Subject)
			p.Source, p.Width = excerpt(src[d.Subject.Filename], *d.Subject)
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b Problem) int {
		if c := strings.Compare(a.Pos.File, b.Pos.File); c != 0 {
			return c
		}
		return a.Pos.Line - b.Pos.Line
	})
	return list
}

func posOf(r hcl.Range) Pos { return Pos{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column} }

// excerpt returns the first line of a range and how many of its characters are meant.
func excerpt(src []byte, r hcl.Range) (string, int) {
	lines := bytes.Split(src, []byte("\n"))
	if r.Start.Line < 1 || r.Start.Line > len(lines) {
		return "", 0
	}
	line := redact(strings.TrimRight(string(lines[r.Start.Line-1]), "\r"))
	end := len([]rune(line))
	if r.End.Line == r.Start.Line {
		end = r.End.Column - 1
	}
	return line, max(1, end-(r.Start.Column-1))
}

var secretPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(?i)\w*(?:p\w*w|secret|token|webhook)\w*"?\s*[=:]\s*"((?:[^"\\]|\\.)*)`),
	regexp.MustCompile(`://([^/\s"@]*)@`),
}

// redact stars out what looks like a secret, keeping the line's width.
func redact(line string) string {
	for _, re := range secretPatterns {
		for _, m := range re.FindAllStringSubmatchIndex(line, -1) {
			if secret := line[m[2]:m[3]]; !strings.Contains(secret, "${") {
				line = line[:m[2]] + strings.Repeat("*", len(secret)) + line[m[3]:]
			}
		}
	}
	return line
}
