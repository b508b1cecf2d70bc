package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/specs"
)

func (s system) lintCommand() *cli.Command {
	return &cli.Command{
		Name:  "lint",
		Usage: "check the HCL and the LinuxKit YAML together: everything that is wrong, at once",
		Action: func(c *cli.Context) error {
			problems, err := s.lint(c)
			if err != nil {
				return err
			}
			if given(c, "json") {
				err = s.printJSON(map[string][]specs.Problem{"problems": append([]specs.Problem{}, problems...)})
			} else {
				err = s.printProblems(problems)
			}
			if err == nil && len(problems) > 0 {
				return &exit{code: exitError}
			}
			return err
		},
	}
}

func (s system) printProblems(problems []specs.Problem) error {
	text := "nothing is wrong\n"
	if len(problems) > 0 {
		text = (&specs.Error{Problems: problems}).Error() + "\n"
	}
	_, err := fmt.Fprint(s.Stdout, text)
	return err
}

// lint returns everything that is wrong with the spec and the LinuxKit YAML that it names.
func (s system) lint(c *cli.Context) ([]specs.Problem, error) {
	spec, err := s.spec(c)
	if err != nil {
		if problems := specs.Problems(err); problems != nil {
			return problems, nil
		}
		return nil, err
	}
	var problems []specs.Problem
	for _, img := range spec.Images {
		in, found := readYAML(spec, img)
		problems = append(problems, found...)
		if len(found) > 0 {
			continue
		}
		if _, err := build.References(in); err != nil {
			problems = append(problems, yamlProblems(err, in, img.Pos)...)
		}
	}
	for _, f := range spec.Fleets {
		problems = append(problems, f.Unsupported()...)
	}
	return problems, nil
}

// readYAML fills a build's input from an image block and reports files that cannot be read or are faulty.
func readYAML(spec specs.Spec, img specs.Image) (build.Input, []specs.Problem) {
	in := build.Input{Name: img.Name, Arch: img.Arch, Boot: img.Boot, Rootfs: img.Rootfs, Compress: img.Compress}
	var problems []specs.Problem
	for _, name := range img.LinuxKit {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(spec.Dir, name)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			problems = append(problems, specs.Problem{Pos: img.Pos, Summary: "Unreadable LinuxKit YAML", Detail: err.Error()})
			continue
		}
		in.YAML = append(in.YAML, build.Source{Name: path, Data: b})
		if found := build.Check(path, b); len(found) > 0 {
			problems = append(problems, yamlProblems(found, in, img.Pos)...)
		}
	}
	for _, p := range img.Persist {
		if p.UUID != "" {
			problems = append(problems, specs.Problem{Pos: p.Pos, Summary: "Not possible yet: a data disk found by UUID", Detail: `Write label = "…" instead of uuid.`})
		}
		in.Persist = append(in.Persist, build.Persist{Mount: p.Mount, Label: p.Label, Filesystem: p.Filesystem, Via: p.Via})
	}
	return in, problems
}

// yamlProblems converts what package build found, with the source line.
func yamlProblems(err error, in build.Input, at specs.Pos) []specs.Problem {
	var found build.Problems
	if !errors.As(err, &found) {
		return []specs.Problem{{Pos: at, Summary: "Image that cannot be built", Detail: err.Error()}}
	}
	var list []specs.Problem
	for _, f := range found {
		p := specs.Problem{Pos: specs.Pos{File: f.File, Line: f.Line, Column: f.Column}, Summary: f.Text}
		for _, y := range in.YAML {
			lines := strings.Split(string(y.Data), "\n")
			if y.Name == f.File && f.Line > 0 && f.Line <= len(lines) && f.Column > 0 {
				p.Source, p.Width = strings.TrimRight(lines[f.Line-1], "\r"), 1
			}
		}
		list = append(list, p)
	}
	return list
}
