package base

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// moduleDeps is a modules.dep: which files each kernel module needs. Keys and values are paths below
// lib/modules/<release>, as depmod writes them.
type moduleDeps map[string][]string

// parseModulesDep reads a modules.dep.
func parseModulesDep(name string, r io.Reader) (moduleDeps, error) {
	deps := moduleDeps{}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" {
			continue
		}
		mod, rest, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%s:%d: no colon after the module's path", name, line)
		}
		deps[mod] = strings.Fields(rest)
	}
	return deps, sc.Err()
}

// moduleName is a module's name as the kernel knows it: file name without suffixes, underscores for dashes.
func moduleName(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// modulePath is the path below the release directory without the suffix, for matching globs.
func modulePath(file string) string {
	p, _, _ := strings.Cut(file, ".ko")
	return p
}

// pick returns the wanted modules and everything they depend on, sorted. A wanted entry with a slash is a glob over
// paths ("kernel/net/netfilter/**"), else a module's name. Names that are built into the kernel need no file; other
// names without a file are an error, as are globs that match nothing.
func (d moduleDeps) pick(wanted, builtin []string) ([]string, error) {
	byName := map[string]string{}
	for file := range d {
		byName[moduleName(file)] = file
	}
	inside := map[string]bool{}
	for _, b := range builtin {
		inside[moduleName(b)] = true
	}
	got := map[string]bool{}
	var missing []string
	for _, w := range wanted {
		files := d.find(w, byName)
		if len(files) == 0 && !inside[strings.ReplaceAll(w, "-", "_")] {
			missing = append(missing, w)
		}
		for _, f := range files {
			if err := d.follow(f, got); err != nil {
				return nil, err
			}
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the kernel has no modules %s", strings.Join(missing, ", "))
	}
	all := make([]string, 0, len(got))
	for f := range got {
		all = append(all, f)
	}
	slices.Sort(all)
	return all, nil
}

// find returns the files one wanted entry stands for.
func (d moduleDeps) find(wanted string, byName map[string]string) []string {
	if !strings.Contains(wanted, "/") {
		if f, ok := byName[strings.ReplaceAll(wanted, "-", "_")]; ok {
			return []string{f}
		}
		return nil
	}
	var all []string
	for f := range d {
		if match(wanted, modulePath(f)) {
			all = append(all, f)
		}
	}
	return all
}

// follow marks a module and everything it depends on.
func (d moduleDeps) follow(file string, got map[string]bool) error {
	if got[file] {
		return nil
	}
	needs, ok := d[file]
	if !ok {
		return fmt.Errorf("modules.dep names %s but has no line for it", file)
	}
	got[file] = true
	for _, n := range needs {
		if err := d.follow(n, got); err != nil {
			return err
		}
	}
	return nil
}
