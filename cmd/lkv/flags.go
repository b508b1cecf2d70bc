package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/specs"
)

const commonCategory = "Common options (before or after the command):"

// commonFlags returns fresh flags that every command takes, before or after its name.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Category: commonCategory, Usage: "the spec, a `FILE` or directory (LKV_FILE; default lkv.hcl)"},
		&cli.StringSliceFlag{Name: "var", Category: commonCategory, Usage: "set a variable of the spec, `NAME=VALUE` (LKV_VAR_<name>)"},
		&cli.StringSliceFlag{Name: "var-file", Category: commonCategory, Usage: "set variables from a `FILE` of name = value"},
		&cli.StringFlag{Name: "cache", Category: commonCategory, Usage: "`DIR` of cached images (LKV_CACHE; default lkv below XDG_CACHE_HOME or ~/.cache)"},
		&cli.BoolFlag{Name: "json", Category: commonCategory, Usage: "print the result as JSON"},
		&cli.StringFlag{Name: "progress", Category: commonCategory, Usage: "progress on standard error, `MODE` auto, plain or none (default auto)"},
		&cli.StringFlag{Name: "log-format", Category: commonCategory, Usage: "log on standard error, `FORMAT` text or json (default text)"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Category: commonCategory, Usage: "log more"},
	}
}

// setIn returns the innermost context in which a flag was given, nil when nowhere.
func setIn(c *cli.Context, name string) *cli.Context {
	for _, ctx := range c.Lineage() {
		if ctx != nil && ctx.Command != nil && slices.Contains(ctx.LocalFlagNames(), name) {
			return ctx
		}
	}
	return nil
}

// text returns a flag's text, wherever it stands on the command line; "" when it was not given and has no default.
func text(c *cli.Context, name string) string {
	if ctx := setIn(c, name); ctx != nil {
		return ctx.String(name)
	}
	return c.String(name)
}

// given returns whether a flag was given, wherever it stands.
func given(c *cli.Context, name string) bool {
	ctx := setIn(c, name)
	return ctx != nil && ctx.Bool(name)
}

// texts returns every value of a flag, those before the command first.
func texts(c *cli.Context, name string) []string {
	var all []string
	lineage := slices.Clone(c.Lineage())
	slices.Reverse(lineage)
	for _, ctx := range lineage {
		if ctx != nil && ctx.Command != nil && slices.Contains(ctx.LocalFlagNames(), name) {
			all = append(all, ctx.StringSlice(name)...)
		}
	}
	return all
}

// spec loads the spec that the flags and the environment name.
func (s system) spec(c *cli.Context) (specs.Spec, error) {
	path := text(c, "file")
	if path == "" {
		path = s.Env["LKV_FILE"]
	}
	if path == "" {
		path = "lkv.hcl"
	}
	vars := map[string]string{}
	for _, kv := range texts(c, "var") {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return specs.Spec{}, usagef("-var takes NAME=VALUE, for example -var size=3")
		}
		vars[name] = value
	}
	spec, err := specs.Load(path, specs.Options{Vars: vars, VarFiles: texts(c, "var-file"), Env: s.Env})
	if errors.Is(err, fs.ErrNotExist) && specs.Problems(err) == nil {
		return spec, usagef("there is no %s: name the spec with -f or LKV_FILE, or run lkv init to write one", path)
	}
	return spec, err
}

// pick returns the images of a spec that --image names, all of them when it names none.
func pick[T any](c *cli.Context, flagName, kind string, all []T, name func(T) string) ([]T, error) {
	want := texts(c, flagName)
	if len(want) == 0 {
		if len(all) == 0 {
			return nil, usagef("the spec has no %s block", kind)
		}
		return all, nil
	}
	known := make([]string, len(all))
	for i, v := range all {
		known[i] = name(v)
	}
	var list []T
	for _, w := range want {
		i := slices.Index(known, w)
		if i < 0 {
			return nil, usagef("--%s %s: the spec has no such %s%s", flagName, w, kind, suggestion(w, known))
		}
		list = append(list, all[i])
	}
	return list, nil
}

// cacheDir returns where images are cached.
func (s system) cacheDir(c *cli.Context) (string, error) {
	if dir := text(c, "cache"); dir != "" {
		return dir, nil
	}
	for _, d := range []struct{ env, sub string }{{"LKV_CACHE", ""}, {"XDG_CACHE_HOME", "lkv"}, {"HOME", ".cache/lkv"}} {
		if v := s.Env[d.env]; v != "" {
			return filepath.Join(v, d.sub), nil
		}
	}
	return "", usagef("no cache directory: name one with --cache or LKV_CACHE")
}
