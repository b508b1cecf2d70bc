package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Edit replaces the bytes [Start, End) of a file, which are Old, by New.
type Edit struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

// Apply makes the edits of findings that fit the data and returns the new bytes with the findings it dealt with. Of
// edits that overlap only the first is made, and none of two that replace the same bytes differently.
func Apply(data []byte, findings []Finding) ([]byte, []Finding) {
	var list []Finding
	for _, f := range findings {
		if e := f.Edit; e != nil && 0 <= e.Start && e.Start <= e.End && e.End <= len(data) && string(data[e.Start:e.End]) == e.Old {
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return a.Edit.Start - b.Edit.Start })
	var out bytes.Buffer
	var done []Finding
	last, edge := 0, -1
	for i, f := range list {
		e := f.Edit
		if e.Start < last || e.Start == edge || contradicted(list, i) {
			continue
		}
		out.Write(data[last:e.Start])
		out.WriteString(e.New)
		last, edge = e.End, e.Start
		done = append(done, f)
	}
	out.Write(data[last:])
	return out.Bytes(), done
}

func contradicted(list []Finding, i int) bool {
	e := list[i].Edit
	return slices.ContainsFunc(list, func(f Finding) bool {
		return f.Edit.Start == e.Start && f.Edit.End == e.End && f.Edit.New != e.New
	})
}

// offset returns where a node begins. YAML columns count characters.
func (d *doc) offset(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(d.starts) {
		return -1
	}
	at := d.starts[n.Line-1]
	for i := 1; i < n.Column && at < len(d.data); i++ {
		_, size := utf8.DecodeRune(d.data[at:])
		at += size
	}
	return at
}

// span returns where a scalar of one line begins and ends, quotes included; ok is false for any other.
func (d *doc) span(n *yaml.Node) (start, end int, ok bool) {
	raw := n.Value
	switch n.Style {
	case yaml.DoubleQuotedStyle:
		raw = `"` + raw + `"`
	case yaml.SingleQuotedStyle:
		raw = "'" + raw + "'"
	case 0:
	default:
		return 0, 0, false
	}
	start = d.offset(n)
	if start < 0 || raw == "" || !bytes.HasPrefix(d.data[start:], []byte(raw)) {
		return 0, 0, false // escapes, or folded over lines
	}
	return start, start + len(raw), true
}

func (d *doc) edit(start, end int, text string) *Edit {
	return &Edit{start, end, string(d.data[start:end]), text}
}

// replace puts text in the place of a scalar.
func (d *doc) replace(n *yaml.Node, text string) *Edit {
	start, end, ok := d.span(n)
	if !ok {
		return nil
	}
	return d.edit(start, end, text)
}

// drop removes element i of a list of scalars; nil where that needs more than cutting.
func (d *doc) drop(list *yaml.Node, i int) *Edit {
	if list == nil || i >= len(list.Content) {
		return nil
	}
	start, end, ok := d.span(list.Content[i])
	if !ok {
		return nil
	}
	if list.Style&yaml.FlowStyle == 0 {
		return d.dropLine(list.Content[i].Line, start, end)
	}
	if i+1 < len(list.Content) {
		next := d.offset(list.Content[i+1])
		if next > end && strings.Trim(string(d.data[end:next]), " ") == "," {
			return d.edit(start, next, "")
		}
	}
	if i > 0 {
		if _, before, ok := d.span(list.Content[i-1]); ok && before < start && strings.Trim(string(d.data[before:start]), " ") == "," {
			return d.edit(before, end, "")
		}
	}
	return nil
}

// dropLine removes a line that holds nothing but "- " and the bytes [start, end).
func (d *doc) dropLine(line, start, end int) *Edit {
	from, to := d.starts[line-1], len(d.data)
	if line < len(d.starts) {
		to = d.starts[line]
	}
	if strings.TrimSpace(string(d.data[from:start])) != "-" || strings.TrimSpace(string(d.data[end:to])) != "" {
		return nil
	}
	return d.edit(from, to, "")
}

// after adds a line "key: value" to a block mapping, below the line of one of its keys.
func (d *doc) after(mapping *yaml.Node, known, added, value string) *Edit {
	k := key(mapping, known)
	if k == nil || mapping.Style&yaml.FlowStyle != 0 || k.Line > len(d.starts) {
		return nil
	}
	line := d.line(k.Line)
	end := d.starts[k.Line-1] + len(line)
	eol := "\n"
	if bytes.HasPrefix(d.data[end:], []byte("\r")) {
		eol = "\r\n"
	}
	return d.edit(end, end, fmt.Sprintf("%s%s%s: %s", eol, strings.Repeat(" ", k.Column-1), added, value))
}
