package base

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// definition is a component.yml.
type definition struct {
	Description string             `yaml:"description"`
	Order       int                `yaml:"order"`      // place in Components
	Packages    []string           `yaml:"packages"`   // Debian packages to fetch, dependencies come along
	Unmerged    bool               `yaml:"unmerged"`   // image is unpacked at /: no links from /bin, /lib, ... into /usr
	Take        []take             `yaml:"take"`       // files of packages
	Libraries   []string           `yaml:"libraries"`  // shared libraries opened by name at run time
	Guest       absPath            `yaml:"guest"`      // where lkv-guest goes
	Bundles     []bundle           `yaml:"bundles"`    // several files of a package as one
	Dirs        []dir              `yaml:"dirs"`       // empty directories
	Files       []file             `yaml:"files"`      // files of the component's own directory
	Links       map[absPath]string `yaml:"links"`      // symbolic links: path to target
	Kernel      *kernelDef         `yaml:"kernel"`     // makes /kernel and /kernel.tar
	Entrypoint  []string           `yaml:"entrypoint"` // of the image configuration
	Command     []string           `yaml:"command"`
	Env         []string           `yaml:"env"`
	LinuxKit    map[string]any     `yaml:"linuxkit"` // becomes the label LinuxKitLabel
	Versions    map[string]string  `yaml:"versions"` // label to the package whose upstream version it shows
}

// take picks files of one package.
type take struct {
	Package string    `yaml:"package"`
	Keep    []absPath `yaml:"keep"` // globs: * within one path element, ** across any number
	Drop    []absPath `yaml:"drop"` // taken away from what keep matched
	To      absPath   `yaml:"to"`   // new path, for a keep that matches one file
}

// bundle is one file made of all files of a package that fit a glob, in path order: certificates, for example.
type bundle struct {
	Path    absPath `yaml:"path"`
	Package string  `yaml:"package"`
	Keep    absPath `yaml:"keep"`
}

// dir is a directory to create. Mode is octal.
type dir struct {
	Path absPath `yaml:"path"`
	Mode octal   `yaml:"mode"` // default 0755
}

// file is a file of the component's directory.
type file struct {
	Path   absPath `yaml:"path"`
	Source string  `yaml:"source"` // below files/
	Mode   octal   `yaml:"mode"`   // default 0644
}

// kernelDef says which kernel modules go into kernel.tar; what they depend on comes along.
type kernelDef struct {
	Modules []string `yaml:"modules"` // module names, or globs over paths below kernel/ without suffix
}

// absPath is a clean absolute path, possibly with glob characters.
type absPath string

// UnmarshalYAML refuses a path that is relative or not clean.
func (p *absPath) UnmarshalYAML(n *yaml.Node) error {
	var s string
	if err := n.Decode(&s); err != nil {
		return err
	}
	if !strings.HasPrefix(s, "/") || path.Clean(s) != s {
		return fmt.Errorf("line %d: %q must be an absolute path without . or .. and without a slash at the end", n.Line, s)
	}
	*p = absPath(s)
	return nil
}

// octal is a file mode, written in octal as text or number.
type octal uint32

// UnmarshalYAML reads 0644, "0644" or 644 as the same mode.
func (m *octal) UnmarshalYAML(n *yaml.Node) error {
	var v uint32
	if _, err := fmt.Sscanf(n.Value, "%o", &v); err != nil || v > 0o7777 || strings.Trim(n.Value, "01234567") != "" {
		return fmt.Errorf("line %d: %q is not an octal file mode such as 0644", n.Line, n.Value)
	}
	*m = octal(v)
	return nil
}

// or returns m, or def when no mode was written.
func (m octal) or(def uint32) uint32 {
	if m == 0 {
		return def
	}
	return uint32(m)
}

// parseDefinition reads one component.yml. Every problem of a kind is reported at once, as "file:line: what".
func parseDefinition(name string, text []byte) (definition, error) {
	var d definition
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return definition{}, located(name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return definition{}, located(name, err)
	}
	return d, d.check(name, &root)
}

// located turns yaml's "line 3: ..." into "name:3: ...".
func located(name string, err error) error {
	lines := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		lines = te.Errors
	}
	var all []error
	for _, l := range lines {
		rest, ok := strings.CutPrefix(l, "line ")
		if at, what, found := strings.Cut(rest, ": "); ok && found {
			all = append(all, fmt.Errorf("%s:%s: %s", name, at, what))
			continue
		}
		all = append(all, fmt.Errorf("%s: %s", name, l))
	}
	return errors.Join(all...)
}

// packageName is what Debian's policy allows (section 5.6.1), and safe in a shell.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// check reports what the types cannot: missing and contradictory values.
func (d definition) check(name string, root *yaml.Node) error {
	var all []error
	bad := func(key, format string, args ...any) {
		all = append(all, fmt.Errorf("%s:%d: %s", name, lineOf(root, key), fmt.Sprintf(format, args...)))
	}
	if d.Description == "" {
		bad("description", "description is missing: say in one line what the component is")
	}
	for _, p := range d.Packages {
		if !packageName.MatchString(p) {
			bad("packages", "%q is no name of a Debian package", p)
		}
	}
	for i, t := range d.Take {
		if t.Package == "" || len(t.Keep) == 0 {
			bad("take", "take %d needs a package and at least one keep", i+1)
		}
		if t.To != "" && len(t.Keep) != 1 {
			bad("take", "take %d: to renames one file, so keep must hold one path", i+1)
		}
	}
	for _, f := range d.Files {
		if f.Source == "" || f.Path == "" {
			bad("files", "a file needs path and source")
		}
	}
	for _, b := range d.Bundles {
		if b.Path == "" || b.Package == "" || b.Keep == "" {
			bad("bundles", "a bundle needs path, package and keep")
		}
	}
	if d.Kernel != nil && len(d.Kernel.Modules) == 0 {
		bad("kernel", "kernel lists no modules")
	}
	if len(d.Packages) == 0 && d.Guest == "" {
		bad("packages", "neither packages nor guest: the image would be empty")
	}
	return errors.Join(all...)
}

// lineOf returns the line of a top-level key, or 1 when it is absent.
func lineOf(root *yaml.Node, key string) int {
	if len(root.Content) == 0 {
		return 1
	}
	m := root.Content[0].Content
	for i := 0; i+1 < len(m); i += 2 {
		if m[i].Value == key {
			return m[i].Line
		}
	}
	return 1
}
