// Package base builds the component images this project ships (kernel, init, persist, docker, ...) without a
// container daemon: Debian packages, whose signatures apt verifies, and the static program lkv-guest become one
// OCI image each. The same packages and the same program give the same digest.
//
// A component is a directory with a component.yml and, when needed, files beside it; see README.md. There is no Go
// in it. Not supported: maintainer scripts (none is ever run), architectures other than amd64, images with more
// than one layer.
package base

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

//go:embed */component.yml */files
var shipped embed.FS

// Labels that the images carry beside LinuxKit's own.
const (
	LinuxKitLabel = "org.mobyproject.config" // LinuxKit's JSON: capabilities, binds, net, pid, ...
	PackagesLabel = "lkv.packages"           // "name=version ..." of every Debian package a file was taken from
	KernelLabel   = "lkv.kernel"             // release of the kernel in the image, as uname -r prints it
	EngineLabel   = "lkv.engine"             // Docker Engine version, without Debian's revision
	SuiteLabel    = "lkv.suite"              // Debian suite the packages come from
)

// ErrTool says that a program the build needs is not on this machine; the message names the package that has it.
var ErrTool = errors.New("program not found")

// Component is one image this package can build.
type Component struct {
	Name        string // "kernel", "init", ...
	Ref         string // reference under which a LinuxKit YAML names it, for example "lkv/kernel:1"
	Description string // one line

	def definition
	src fs.FS // the component's directory
}

// Options says where packages come from and where files may be put.
type Options struct {
	Suite   string    // Debian suite; empty: DefaultSuite
	Mirror  string    // URI of a Debian mirror; empty: the one this machine's apt uses, else deb.debian.org
	Epoch   time.Time // creation time in the image configuration; zero: 1970-01-01. File times are always 1970-01-01
	Guest   string    // path of the compiled lkv-guest; needed by components that contain it
	WorkDir string    // existing directory for downloads and layers; the returned image reads from it
	Log     io.Writer // what mmdebstrap says, and one line per stage; nil: nowhere
	APT     fs.FS     // root of the file system whose etc/apt names the default mirror; nil: this machine's
}

// DefaultSuite is the Debian release the components are written for.
const DefaultSuite = "trixie"

// Components returns the shipped components in the order in which a machine uses them.
func Components() ([]Component, error) {
	return load(shipped)
}

// load reads every directory of root that holds a component.yml.
func load(root fs.FS) ([]Component, error) {
	files, err := fs.Glob(root, "*/component.yml")
	if err != nil {
		return nil, fmt.Errorf("list components: %w", err)
	}
	var all []Component
	var problems []error
	for _, f := range files {
		c, err := loadOne(root, f)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b Component) int { return a.def.Order - b.def.Order })
	return all, errors.Join(problems...)
}

// loadOne reads one component.yml; its directory's name is the component's.
func loadOne(root fs.FS, file string) (Component, error) {
	name := file[:len(file)-len("/component.yml")]
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return Component{}, fmt.Errorf("read component %s: %w", name, err)
	}
	def, err := parseDefinition(file, text)
	if err != nil {
		return Component{}, err
	}
	src, err := fs.Sub(root, name)
	if err != nil {
		return Component{}, fmt.Errorf("open component %s: %w", name, err)
	}
	return Component{Name: name, Ref: "lkv/" + name + ":1", Description: def.Description, def: def, src: src}, nil
}

// Build makes the image of c. Downloads stay in o.WorkDir and serve later builds with the same suite and mirror;
// the image's layer lies there too, so the directory must outlive the image.
// Errors: ErrTool when mmdebstrap or dpkg-deb is missing; otherwise what apt, a definition or a file says.
func Build(ctx context.Context, c Component, o Options) (v1.Image, error) {
	pool, err := Fetch(ctx, []Component{c}, o)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", c.Name, err)
	}
	t, err := assemble(ctx, c, pool, o)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", c.Name, err)
	}
	img, err := t.image(c, o)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", c.Name, err)
	}
	return img, nil
}
