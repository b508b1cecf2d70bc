package specs

import (
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// envVar is the prefix of environment variables that set variables.
const envVar = "LKV_VAR_"

// evaluate fills the evaluation context: functions first, then variables, then locals in order of use.
func (l *loader) evaluate(root *scope) {
	l.ctx = &hcl.EvalContext{Functions: functions(l.dir, l.opt.Env), Variables: map[string]cty.Value{}}
	l.inFiles = &hcl.EvalContext{Variables: map[string]cty.Value{"local": cty.EmptyObjectVal}}
	l.ctx.Variables["var"] = cty.ObjectVal(l.variables(root))
	l.ctx.Variables["local"] = cty.EmptyObjectVal
	l.locals(root)
}

// variables returns every declared variable's value. One that nothing gives a value is reported.
func (l *loader) variables(root *scope) map[string]cty.Value {
	set := l.fromFiles()
	vals, defaults := map[string]cty.Value{}, map[string]cty.Value{}
	seen := map[string]bool{}
	for _, b := range root.blocks.OfType("variable") {
		name := b.Labels[0]
		if seen[name] {
			l.fail(b.DefRange, "Duplicate variable", "There is another variable %q: give one of them another name.", name)
		}
		seen[name] = true
		var given bool
		if vals[name], given = l.variable(b, set[name]); !given {
			defaults[name] = vals[name]
		}
	}
	l.inFiles.Variables["var"] = cty.ObjectVal(defaults)
	for _, name := range sortedKeys(l.opt.Vars) {
		if !seen[name] {
			l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown variable",
				Detail: fmt.Sprintf("-var %s: no variable of that name is declared. Write: variable %q {}", name, name)})
		}
	}
	return vals
}

// variable returns one variable: -var, then -var-file, then LKV_VAR_name, then the default.
// A text from the command line takes the default's type. given says that the value does not stand in the spec.
func (l *loader) variable(b *hcl.Block, fromFile cty.Value) (v cty.Value, given bool) {
	s := l.open(b, variableGrammar)
	sensitive := false
	s.flag("sensitive", &sensitive)
	var about string
	s.text("description", &about)
	def, hasDef := s.raw("default")
	name := b.Labels[0]
	v = def
	text, ok := l.opt.Vars[name]
	if !ok && fromFile == cty.NilVal {
		text, ok = l.opt.Env[envVar+name]
	}
	switch {
	case ok:
		v = l.fromText(b, text, def)
	case fromFile != cty.NilVal:
		v = fromFile
	case !hasDef:
		if !s.has("default") {
			l.fail(b.DefRange, "Variable without value", "Nothing sets %q: write -var %s=VALUE, set %s%s, or give it a default.", name, name, envVar, name)
		}
		v = cty.DynamicVal
	}
	given = ok || fromFile != cty.NilVal || !s.plain("default")
	if sensitive {
		return v.Mark(mark{}), given
	}
	return v, given
}

// fromText converts a text to the type of the variable's default.
func (l *loader) fromText(b *hcl.Block, text string, def cty.Value) cty.Value {
	v := cty.StringVal(text)
	if def == cty.NilVal || !def.Type().IsPrimitiveType() {
		return v
	}
	got, err := convert.Convert(v, def.Type())
	if err != nil {
		l.fail(b.DefRange, "Unusable value for variable", "The value given for %q must be %s, like its default.", b.Labels[0], kindName(def.Type()))
		return cty.UnknownVal(def.Type())
	}
	return got
}

// fromFiles reads the variable files; later ones win.
func (l *loader) fromFiles() map[string]cty.Value {
	vals := map[string]cty.Value{}
	for _, name := range l.opt.VarFiles {
		src, err := os.ReadFile(name)
		if err != nil {
			l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unreadable variable file", Detail: err.Error()})
			continue
		}
		body := l.parse(name, src)
		delete(l.src, name) // variable files hold secrets: no message shows their lines
		if body == nil {
			continue
		}
		attrs, diags := body.JustAttributes()
		l.diags = append(l.diags, diags...)
		for k, a := range attrs {
			v, diags := a.Expr.Value(nil)
			l.diags = append(l.diags, diags...)
			if !diags.HasErrors() {
				vals[k] = v
			}
		}
	}
	return vals
}

// locals evaluates each local as soon as those it uses are known. What is left in the end uses itself.
func (l *loader) locals(root *scope) {
	left := map[string]*hcl.Attribute{}
	for _, b := range root.blocks.OfType("locals") {
		attrs, diags := b.Body.JustAttributes()
		l.diags = append(l.diags, diags...)
		for name, a := range attrs {
			if left[name] != nil {
				l.fail(a.NameRange, "Duplicate local", "There is another local %q: give one of them another name.", name)
			}
			left[name] = a
		}
	}
	vals, plain := map[string]cty.Value{}, map[string]cty.Value{}
	for done := false; !done; {
		done = true
		for _, name := range sortedKeys(left) {
			if usesAny(left[name].Expr, left) {
				continue
			}
			v, diags := left[name].Expr.Value(l.ctx)
			l.diags = append(l.diags, diags...)
			vals[name], done = v, false
			if p, diags := left[name].Expr.Value(l.inFiles); !diags.HasErrors() {
				plain[name] = p
				l.inFiles.Variables["local"] = cty.ObjectVal(plain)
			}
			delete(left, name)
			l.ctx.Variables["local"] = cty.ObjectVal(vals)
		}
	}
	for _, name := range sortedKeys(left) {
		l.fail(left[name].NameRange, "Local uses itself", "%s depends on %s, so none of them has a value.", name, strings.Join(sortedKeys(left), ", "))
	}
}

// usesAny tells whether an expression refers to one of the locals.
func usesAny(e hcl.Expression, locals map[string]*hcl.Attribute) bool {
	for _, t := range e.Variables() {
		if t.RootName() != "local" || len(t) < 2 {
			continue
		}
		if a, ok := t[1].(hcl.TraverseAttr); ok && locals[a.Name] != nil {
			return true
		}
	}
	return false
}
