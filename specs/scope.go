package specs

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// grammar lists what a block may hold. Arguments carry an example, which messages show as "what to write instead".
type grammar struct {
	args   map[string]string // name -> example value, as HCL
	need   []string          // arguments that must be there
	blocks map[string]string // name -> label name, or "" for a block without label
}

func (g grammar) schema() *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, name := range sortedKeys(g.args) {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name})
	}
	for _, name := range sortedKeys(g.blocks) {
		b := hcl.BlockHeaderSchema{Type: name}
		if label := g.blocks[name]; label != "" {
			b.LabelNames = []string{label}
		}
		s.Blocks = append(s.Blocks, b)
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// scope reads the arguments of one block and collects what is wrong with them.
type scope struct {
	l      *loader
	what   string // for messages, for example `fleet "workers"`
	at     hcl.Range
	gram   grammar
	attrs  hcl.Attributes
	blocks hcl.Blocks
}

// open starts reading a block.
func (l *loader) open(b *hcl.Block, g grammar) *scope {
	what := b.Type
	if len(b.Labels) > 0 {
		what = fmt.Sprintf("%s %q", b.Type, b.Labels[0])
	}
	return l.openBody(b.Body, what, b.DefRange, g)
}

func (l *loader) openBody(body hcl.Body, what string, at hcl.Range, g grammar) *scope {
	content, diags := body.Content(g.schema())
	for _, d := range diags {
		if strings.HasPrefix(d.Summary, "Unsupported") || strings.HasPrefix(d.Summary, "Extraneous JSON") {
			d.Detail = strings.TrimSpace(d.Detail + " " + g.known(what))
		}
	}
	l.diags = append(l.diags, diags...)
	s := &scope{l: l, what: what, at: at, gram: g, attrs: content.Attributes, blocks: content.Blocks}
	for _, name := range g.need {
		if s.attrs[name] == nil {
			l.fail(at, "Missing argument", "%s needs %s: write %s = %s", what, name, name, g.args[name])
		}
	}
	return s
}

func (g grammar) known(what string) string {
	known := "In " + what + " there can be"
	if len(g.args) > 0 {
		known += " " + strings.Join(sortedKeys(g.args), ", ")
	}
	if len(g.blocks) > 0 {
		if len(g.args) > 0 {
			known += " and"
		}
		known += " blocks of " + strings.Join(sortedKeys(g.blocks), ", ")
	}
	return known + "."
}

// has tells whether the argument is written.
func (s *scope) has(name string) bool { return s.attrs[name] != nil }

// rangeOf returns where an argument's value stands, or the block's header.
func (s *scope) rangeOf(name string) hcl.Range {
	if a := s.attrs[name]; a != nil {
		return a.Expr.Range()
	}
	return s.at
}

// bad reports that an argument's value cannot be used.
func (s *scope) bad(name, format string, args ...any) {
	s.l.fail(s.rangeOf(name), "Unusable value for "+name, format, args...)
}

// doubt warns of an argument's value that is probably not meant.
func (s *scope) doubt(name, format string, args ...any) {
	s.l.warn(s.rangeOf(name), "Doubtful value for "+name, format, args...)
}

// keep notes where arguments of a block are written, for checks across blocks.
func (s *scope) keep(kind string, block Pos, args ...string) {
	for _, name := range args {
		s.l.at[kind+"."+name+" "+block.String()] = s.rangeOf(name)
	}
}

// plain tells whether an argument's value stands in the files in clear, and nobody gives it from outside.
func (s *scope) plain(name string) bool {
	a := s.attrs[name]
	if a == nil {
		return false
	}
	_, diags := a.Expr.Value(s.l.inFiles)
	return !diags.HasErrors()
}

// value evaluates an argument and converts it. It reports what is wrong; then, or when nothing is written, ok is false.
func (s *scope) value(name string, want cty.Type) (v cty.Value, ok bool) {
	v, ok = s.raw(name)
	if !ok {
		return cty.NilVal, false
	}
	if v.ContainsMarked() {
		s.bad(name, "A secret cannot be used here: it would be written down in clear.")
		return cty.NilVal, false
	}
	got, err := convert.Convert(v, want)
	if err != nil {
		s.bad(name, "%s takes %s: write %s = %s", name, kindName(want), name, s.gram.args[name])
		return cty.NilVal, false
	}
	return got, true
}

// raw evaluates an argument. A null counts as not written.
func (s *scope) raw(name string) (cty.Value, bool) {
	a := s.attrs[name]
	if a == nil {
		return cty.NilVal, false
	}
	v, diags := a.Expr.Value(s.l.ctx)
	s.l.diags = append(s.l.diags, diags...)
	if diags.HasErrors() || v.IsNull() || !v.IsWhollyKnown() { // unknown only after an error that was reported
		return cty.NilVal, false
	}
	return v, true
}

func kindName(t cty.Type) string {
	switch {
	case t == cty.String:
		return "a text"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsListType():
		return "a list of texts"
	default:
		return "a map of texts"
	}
}

func (s *scope) text(name string, into *string) {
	if v, ok := s.value(name, cty.String); ok {
		*into = v.AsString()
	}
}

func (s *scope) flag(name string, into *bool) {
	if v, ok := s.value(name, cty.Bool); ok {
		*into = v.True()
	}
}

func (s *scope) choice(name string, into *string, allowed ...string) {
	v, ok := s.value(name, cty.String)
	if !ok {
		return
	}
	if !slices.Contains(allowed, v.AsString()) {
		s.bad(name, "%q is not known: write %s", v.AsString(), quotedOr(allowed))
		return
	}
	*into = v.AsString()
}

func quotedOr(list []string) string {
	q := make([]string, len(list))
	for i, v := range list {
		q[i] = fmt.Sprintf("%q", v)
	}
	if len(q) == 1 {
		return q[0]
	}
	return strings.Join(q[:len(q)-1], ", ") + " or " + q[len(q)-1]
}

func (s *scope) integer(name string, into *int, low, high int) {
	v, ok := s.value(name, cty.Number)
	if !ok {
		return
	}
	n, acc := v.AsBigFloat().Int64()
	if acc != big.Exact || n < int64(low) || n > int64(high) {
		s.bad(name, "%s takes a whole number from %d to %d: write %s = %s", name, low, high, name, s.gram.args[name])
		return
	}
	*into = int(n)
}

func (s *scope) texts(name string, into *[]string) {
	v, ok := s.value(name, cty.List(cty.String))
	if !ok {
		return
	}
	var list []string
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || e.AsString() == "" {
			s.bad(name, "%s holds an empty entry: write %s = %s", name, name, s.gram.args[name])
			return
		}
		list = append(list, e.AsString())
	}
	if len(list) == 0 {
		s.bad(name, "%s is empty: write %s = %s", name, name, s.gram.args[name])
	}
	*into = list
}

func (s *scope) textMap(name string, into *map[string]string) {
	v, ok := s.value(name, cty.Map(cty.String))
	if !ok {
		return
	}
	m := map[string]string{}
	for k, e := range v.AsValueMap() {
		if e.IsNull() {
			s.bad(name, "%s[%q] is null: leave the key out instead", name, k)
			continue
		}
		m[k] = e.AsString()
	}
	*into = m
}

// parsed reads a text and parses it with one of the package's parsers.
func parsed[T any](s *scope, name string, into *T, parse func(string) (T, error)) {
	v, ok := s.value(name, cty.String)
	if !ok {
		return
	}
	got, err := parse(v.AsString())
	if err != nil {
		s.bad(name, "%s", err)
		return
	}
	*into = got
}

func (s *scope) size(name string, into *Size)              { parsed(s, name, into, ParseSize) }
func (s *scope) count(name string, into *Count)            { parsed(s, name, into, ParseCount) }
func (s *scope) duration(name string, into *time.Duration) { parsed(s, name, into, ParseDuration) }

// atLeast reads a duration that means nothing below a bound.
func (s *scope) atLeast(name string, into *time.Duration, least time.Duration, why string) {
	parsed(s, name, into, func(v string) (time.Duration, error) {
		d, err := ParseDuration(v)
		if err == nil && d < least {
			err = errors.New(why)
		}
		return d, err
	})
}

// secret reads a text that may be marked.
func (s *scope) secret(name string, into *Secret) {
	v, ok := s.raw(name)
	if !ok {
		return
	}
	v, marks := v.Unmark()
	v, err := convert.Convert(v, cty.String)
	if err != nil {
		s.bad(name, "%s takes a text: write %s = %s", name, name, s.gram.args[name])
		return
	}
	*into = NewSecret(v.AsString())
	for m := range marks {
		if m, ok := m.(mark); ok && m.path != "" {
			if v.AsString() != secretText {
				s.bad(name, "A secret from a file cannot be combined with other text: put the whole value into the file.")
			}
			*into = SecretFile(m.path)
		}
	}
}
