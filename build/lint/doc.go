package lint

import (
	"bytes"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bounds of one document. A file of a few lines can expand to any size through aliases and merges.
const (
	maxVisits = 100_000 // keys and list elements one rule looks at where there are aliases; real files have hundreds
	maxDepth  = 32      // of aliases and merges
)

// doc is one parsed file.
type doc struct {
	name    string
	data    []byte
	root    *yaml.Node
	aliased bool         // it uses aliases somewhere
	starts  []int        // byte offset of each line
	inside  map[int]bool // lines that continue a scalar
	secret  map[int]bool // lines that show a secret
	left    int          // visits the rule at hand may still make
	over    bool         // some rule ran out of them
}

// parse returns nil for what is no YAML mapping.
func parse(s Source) *doc {
	var n yaml.Node
	if yaml.Unmarshal(s.Data, &n) != nil || len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	d := &doc{name: s.Name, data: s.Data, root: n.Content[0], starts: []int{0}, inside: map[int]bool{}, secret: map[int]bool{}, left: maxVisits}
	for i, c := range s.Data {
		if c == '\n' {
			d.starts = append(d.starts, i+1)
		}
	}
	d.scan(d.root)
	return d
}

// scan walks the document as it is written, which is never larger than the file.
func (d *doc) scan(n *yaml.Node) {
	d.aliased = d.aliased || n.Kind == yaml.AliasNode
	if n.Kind == yaml.ScalarNode {
		for l := n.Line + 1; l <= d.end(n); l++ {
			d.inside[l] = true
		}
	}
	for _, c := range n.Content {
		d.scan(c)
	}
}

// end returns the last line of a scalar. A plain one may go on, but nothing that we look for begins there.
func (d *doc) end(n *yaml.Node) int {
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return d.blockEnd(n)
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return d.quoteEnd(n)
	}
	return n.Line
}

func (d *doc) blockEnd(n *yaml.Node) int {
	last, outer := n.Line, indent(d.line(n.Line))
	for l := n.Line + 1; l <= len(d.starts); l++ {
		text := d.line(l)
		if strings.TrimSpace(text) == "" {
			continue
		}
		if indent(text) <= outer {
			break
		}
		last = l
	}
	return last
}

func (d *doc) quoteEnd(n *yaml.Node) int {
	line := n.Line
	for i := d.offset(n) + 1; i > 0 && i < len(d.data); i++ {
		switch c := d.data[i]; {
		case c == '\n':
			line++
		case c == '\\' && n.Style == yaml.DoubleQuotedStyle:
			if i+1 < len(d.data) && d.data[i+1] != '\n' {
				i++
			}
		case c == '"' && n.Style == yaml.DoubleQuotedStyle:
			return line
		case c == '\'' && n.Style == yaml.SingleQuotedStyle:
			if i+1 >= len(d.data) || d.data[i+1] != '\'' {
				return line
			}
			i++
		}
	}
	return line
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// line returns a line without its end; "" beyond the last one.
func (d *doc) line(n int) string {
	if n < 1 || n > len(d.starts) {
		return ""
	}
	text, _, _ := bytes.Cut(d.data[d.starts[n-1]:], []byte("\n"))
	return strings.TrimRight(string(text), "\r")
}

// spend counts one visit and tells whether it was still allowed. Without aliases nothing can be met twice.
func (d *doc) spend() bool {
	if d.aliased {
		d.left--
		d.over = d.over || d.left < 0
	}
	return d.left >= 0
}

// follow goes from an alias to what it stands for.
func follow(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode && i < maxDepth; i++ {
		n = n.Alias
	}
	return n
}

// fields returns the values of a mapping, those of merge keys included; nil for anything else.
func (d *doc) fields(n *yaml.Node) map[string]*yaml.Node { return d.merge(n, 0) }

func (d *doc) merge(n *yaml.Node, depth int) map[string]*yaml.Node {
	n = follow(n)
	if n == nil || n.Kind != yaml.MappingNode || depth > maxDepth {
		return nil
	}
	own, merged := map[string]*yaml.Node{}, map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content) && d.spend(); i += 2 {
		k, v := n.Content[i], follow(n.Content[i+1])
		if k.ShortTag() != "!!merge" {
			own[k.Value] = v
			continue
		}
		list := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			list = d.items(v)
		}
		for _, m := range list {
			for key, value := range d.merge(m, depth+1) {
				if merged[key] == nil {
					merged[key] = value
				}
			}
		}
	}
	for k, v := range own {
		merged[k] = v
	}
	return merged
}

// items returns the elements of a list, nil for anything else.
func (d *doc) items(n *yaml.Node) []*yaml.Node {
	n = follow(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	var out []*yaml.Node
	for _, e := range n.Content {
		if !d.spend() {
			break
		}
		out = append(out, follow(e))
	}
	return out
}

// key returns the node of a mapping's own key, nil when it has none.
func key(n *yaml.Node, name string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i]
		}
	}
	return nil
}

// scalar makes a node of a text.
func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// str returns the text of a scalar, "" for anything else.
func str(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}
