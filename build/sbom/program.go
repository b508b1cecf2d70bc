package sbom

import (
	"debug/buildinfo"
	"io"
	"path"
	"runtime/debug"
	"strings"
)

// develop is the version of a module in a work tree.
const develop = "(devel)"

// goModules returns the modules of a Go program and the standard library they were built with; nothing for any other
// program. Nothing too for a broken one: the reader of ELF files may panic on those, and they hold no list to believe.
func goModules(name string, r io.ReaderAt) (list []Package) {
	defer func() {
		if recover() != nil {
			list = nil
		}
	}()
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	list = append(list, goModule(name, "stdlib", version))
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == "" {
			continue
		}
		switch {
		case m.Replace == nil:
			list = append(list, goModule(name, m.Path, m.Version))
		case m.Replace.Version == "" || m.Replace.Version == develop: // a directory: what is in it, no version says
			list = append(list, goModule(name, m.Path, ""))
		default:
			list = append(list, goModule(name, m.Replace.Path, m.Replace.Version))
		}
	}
	return list
}

func goModule(program, module, version string) Package {
	if version == develop {
		version = ""
	}
	return Package{Name: module, Version: version, PURL: goURL(module, version), FoundIn: []string{program}}
}

func goURL(module, version string) string {
	dir, base := path.Split(module)
	return purl("golang", strings.TrimSuffix(dir, "/"), base, version, nil)
}
