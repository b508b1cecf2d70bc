package specs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

// Options is what a spec may depend on besides its files.
type Options struct {
	Vars     map[string]string // variables by name, as text; they win over everything else
	VarFiles []string          // files of `name = value`, HCL or JSON (*.json); later ones win
	Env      map[string]string // the environment: env("X") and variables LKV_VAR_<name>
}

// loader carries one Load.
type loader struct {
	opt   Options
	dir   string
	src   map[string][]byte
	ctx   *hcl.EvalContext
	diags hcl.Diagnostics
	at    map[string]hcl.Range // where what later checks refer to was written
	shaky bool                 // a store or placement has an error, so who reaches whom is not known

	inFiles *hcl.EvalContext // knows only what the files themselves give a value, and calls no function
	absent  hcl.Diagnostics  // LinuxKit YAML that is not there: wrong for who reads it, so no reason of its own to refuse a spec
}

// Load reads a file, or every *.hcl and *.hcl.json of a directory, and returns the spec, validated.
// What may be meant is in Spec.Warnings. LinuxKit YAML that is missing is among the problems when there are others;
// alone it is not, since whoever only reconciles needs none.
// When something is wrong with the contents, the error is an *Error with every problem; otherwise it wraps what the
// operating system said (errors.Is(err, fs.ErrNotExist) when there is no such path).
func Load(path string, opt Options) (Spec, error) {
	files, dir, err := find(path)
	if err != nil {
		return Spec{}, err
	}
	l := &loader{opt: opt, dir: dir, src: map[string][]byte{}, at: map[string]hcl.Range{}}
	var bodies []hcl.Body
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			return Spec{}, fmt.Errorf("read spec: %w", err)
		}
		if b := l.parse(name, src); b != nil {
			bodies = append(bodies, b)
		}
	}
	if l.diags.HasErrors() { // a file that does not parse would make every reference into it look dangling
		return Spec{}, &Error{problemsOf(l.diags, l.src)}
	}
	return l.load(hcl.MergeBodies(bodies), files)
}

func (l *loader) load(body hcl.Body, files []string) (Spec, error) {
	root := l.openBody(body, "a spec", body.MissingItemRange(), rootGrammar)
	l.evaluate(root)
	s := l.spec(root)
	s.Dir, s.Files = l.dir, files
	l.check(&s)
	if l.diags.HasErrors() {
		return Spec{}, &Error{problemsOf(append(l.diags, l.absent...), l.src)}
	}
	s.Warnings = problemsOf(l.diags, l.src)
	return s, nil
}

// find returns the files of a spec and the directory that its relative paths start from.
func find(path string) (files []string, dir string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, "", fmt.Errorf("find spec: %w", err)
	}
	if !st.IsDir() {
		return []string{path}, filepath.Dir(path), nil
	}
	for _, pattern := range []string{"*.hcl", "*.hcl.json"} {
		found, err := filepath.Glob(filepath.Join(path, pattern))
		if err != nil {
			return nil, "", fmt.Errorf("find spec: %w", err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, "", fmt.Errorf("find spec: no *.hcl in %s: %w", path, fs.ErrNotExist)
	}
	slices.Sort(files)
	return files, path, nil
}

// parse reads one file; it returns nil when nothing can be made of it.
func (l *loader) parse(name string, src []byte) hcl.Body {
	l.src[name] = src
	var f *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		f, diags = json.Parse(src, name)
	} else {
		f, diags = hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	}
	for _, d := range diags {
		if d.Summary == "Invalid single-argument block definition" {
			d.Detail = "A block on one line can hold one argument only: write every argument on a line of its own."
		}
	}
	l.diags = append(l.diags, diags...)
	if f == nil {
		return nil
	}
	return f.Body
}

// fail reports a problem at a place.
func (l *loader) fail(at hcl.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, diagnostic(hcl.DiagError, at, summary, fmt.Sprintf(format, args...)))
}

// warn reports what works, or may work elsewhere, and is probably not meant.
func (l *loader) warn(at hcl.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, diagnostic(hcl.DiagWarning, at, summary, fmt.Sprintf(format, args...)))
}

func diagnostic(severity hcl.DiagnosticSeverity, at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: severity, Summary: summary, Detail: detail, Subject: &at}
}

// Problems returns what is wrong with the files when err came from their contents, else nil.
func Problems(err error) []Problem {
	var e *Error
	if errors.As(err, &e) {
		return e.Problems
	}
	return nil
}
