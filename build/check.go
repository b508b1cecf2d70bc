package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Problem is one fault of a LinuxKit YAML file. Line and Column count from 1; Line is 0 when unknown.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Text   string `json:"text"`
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems is the error Build returns for faulty YAML: every fault at once, in file order.
type Problems []Problem //nolint:errname // a list users see, also as a value

// What is shown of one fault, bytes, and of a file that is nothing but faults.
const (
	longestText = 500
	mostShown   = 100
)

func (p Problems) Error() string {
	var lines []string
	for i, x := range p {
		if i == mostShown {
			lines = append(lines, fmt.Sprintf("… and %d more", len(p)-i))
			break
		}
		lines = append(lines, x.String())
	}
	return strings.Join(lines, "\n")
}

// yamlLine finds the line in yaml.v3's syntax errors.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// parserError matches the messages for which yaml.v3 counts lines from 0: those of its parser. It counts from 1
// in those of its scanner.
var parserError = regexp.MustCompile(`^did not find expected ('[,-]|key|node content|<)`)

// Check reads one LinuxKit YAML file and returns everything that is wrong with it, nil when nothing is: syntax,
// unknown keys, wrong types, missing names, malformed image references. It resolves no image.
func Check(file string, data []byte) Problems {
	c := &checker{file: file}
	doc, ok := c.parse(data)
	if ok && c.whole(doc, topFields) {
		c.kernel(doc)
		for _, section := range []string{"onboot", "onshutdown", "services"} {
			c.images(doc, section)
		}
		c.init(doc)
		c.files(doc)
		c.volumes(doc)
	}
	slices.SortStableFunc(c.found, func(a, b Problem) int { return a.Line - b.Line })
	return c.found
}

// checkLabel checks the org.mobyproject.config label of an image in the same way.
func checkLabel(ref, label string) error {
	c := &checker{file: "image " + ref + ": label org.mobyproject.config"}
	if doc, ok := c.parse([]byte(label)); ok {
		c.whole(doc, configFields)
	}
	if c.found != nil {
		return c.found
	}
	return nil
}

type checker struct {
	file   string
	found  Problems
	visits int
}

func (c *checker) say(n *yaml.Node, format string, args ...any) {
	p := Problem{File: c.file, Text: fmt.Sprintf(format, args...)}
	if len(p.Text) > longestText {
		p.Text = strings.ToValidUTF8(p.Text[:longestText], "") + "…"
	}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	c.found = append(c.found, p)
}

// parse returns the document's top mapping.
func (c *checker) parse(data []byte) (*yaml.Node, bool) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || (err == nil && len(doc.Content) == 0) {
		c.say(nil, "the file is empty")
		return nil, false
	}
	if err != nil {
		c.syntax(err)
		return nil, false
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		c.say(&second, "a second YAML document: only one per file is used")
		return nil, false
	} else if !errors.Is(err, io.EOF) {
		c.syntax(err)
		return nil, false
	}
	return doc.Content[0], true
}

func (c *checker) syntax(err error) {
	p := Problem{File: c.file, Text: err.Error()}
	if m := yamlLine.FindStringSubmatch(strings.SplitN(err.Error(), "\n", 2)[0]); m != nil {
		p.Line, _ = strconv.Atoi(m[1]) // no line is 0
		if p.Line > 0 && parserError.MatchString(m[2]) {
			p.Line++
		}
		p.Text = "not readable as YAML: " + m[2]
	}
	c.found = append(c.found, p)
}

// pairs calls f for each key of a mapping, merge keys included. It returns false when n is no mapping.
func (c *checker) pairs(n *yaml.Node, depth int, f func(k, v *yaml.Node)) bool {
	n = follow(n)
	if n.Kind != yaml.MappingNode || depth > maxDepth {
		return false
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && c.visit(); i += 2 {
		k, v := n.Content[i], follow(n.Content[i+1])
		if k.ShortTag() == "!!merge" {
			c.merged(v, depth, f)
			continue
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" {
			c.say(k, "a key must be a plain name")
			continue
		}
		if seen[k.Value] {
			c.say(k, "key %q is there twice", k.Value)
			continue
		}
		seen[k.Value] = true
		f(k, v)
	}
	return true
}

func (c *checker) merged(v *yaml.Node, depth int, f func(k, v *yaml.Node)) {
	list := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		list = v.Content
	}
	for _, m := range list {
		if c.visit() && !c.pairs(m, depth+1, f) {
			c.say(m, `"<<" takes a mapping or a list of mappings`)
		}
	}
}

func (c *checker) object(n *yaml.Node, o object, where string, depth int) {
	if depth > maxDepth {
		c.say(n, "nested too deeply: an alias that contains itself?")
		return
	}
	ok := c.pairs(n, depth, func(k, v *yaml.Node) {
		f, known := o[k.Value]
		if !known {
			c.say(k, "unknown key %q%s%s", k.Value, inside(where), suggest(k.Value, o))
			return
		}
		c.value(k.Value, v, f, depth)
	})
	if !ok {
		c.say(n, "%s must be a mapping with keys like %q, not %s", orFile(where), first(o), describeNode(n))
	}
}

func (c *checker) value(key string, v *yaml.Node, f field, depth int) {
	switch f.kind {
	case anObj:
		c.object(v, f.fields, key, depth+1)
	case objects:
		c.each(key, v, func(e *yaml.Node) { c.object(e, f.fields, key, depth+1) })
	case someStrings:
		c.each(key, v, func(e *yaml.Node) { c.scalar(key, e, aString) })
	case someIDs:
		c.each(key, v, func(e *yaml.Node) { c.scalar(key, e, anID) })
	case aMap:
		if !c.pairs(v, depth+1, func(k, v *yaml.Node) { c.scalar(key+"."+k.Value, v, aString) }) {
			c.say(v, "%q must be a mapping of names to strings, not %s", key, describeNode(v))
		}
	default:
		c.scalar(key, v, f.kind)
	}
}

func (c *checker) each(key string, v *yaml.Node, f func(*yaml.Node)) {
	if v.Kind != yaml.SequenceNode {
		c.say(v, "%q must be a list (lines beginning with \"- \"), not %s", key, describeNode(v))
		return
	}
	for _, e := range v.Content {
		if c.visit() {
			f(follow(e))
		}
	}
}

// scalar checks a single value. Numbers where a string belongs are the commonest slip: mode: 0644.
func (c *checker) scalar(key string, v *yaml.Node, k kind) {
	tag := v.ShortTag()
	isString := tag == "!!str" || tag == "!!timestamp"
	ok := v.Kind == yaml.ScalarNode
	switch k {
	case aString:
		ok = ok && isString
	case aBool:
		ok = ok && tag == "!!bool"
	case anInt:
		ok = ok && tag == "!!int"
	case anID:
		ok = ok && (tag == "!!str" || tag == "!!int")
	}
	if ok {
		return
	}
	hint := ""
	if k == aString && v.Kind == yaml.ScalarNode && v.Value != "" && tag != "!!null" {
		hint = fmt.Sprintf(": put it in quotes: %q", v.Value)
	}
	c.say(v, "%q must be %s, not %s%s", key, kindName(k), describeNode(v), hint)
}
