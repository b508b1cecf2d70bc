package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/build/lint"
	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/specs"
)

func (s system) lintCommand() *cli.Command {
	return &cli.Command{
		Name:  "lint",
		Usage: "check the HCL and the LinuxKit YAML together: everything that is wrong, at once",
		Description: "What is wrong comes first, then findings: YAML that LinuxKit accepts and that still loses data, wipes disks\n" +
			"or does not boot (docs/lint.md). The comment \"# lkv:ignore L24 reason\" silences a finding of its line or the next.\n" +
			"Exit code 1: something is wrong, or a finding is an error; with --strict, or a warning.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "fix", Usage: "change the YAML where a finding has a safe fix"},
			&cli.BoolFlag{Name: "strict", Usage: "let warnings fail, too"},
			&cli.StringFlag{Name: "explain", Usage: "print the rule `CODE`, for example L02, and check nothing"},
			&cli.StringFlag{Name: "out", Value: "dist", Usage: "`DIR` that lkv build wrote into, which tells how much memory an image needs"},
		},
		Action: s.lint,
	}
}

func (s system) lint(c *cli.Context) error {
	if code := c.String("explain"); code != "" {
		return s.explain(code)
	}
	r, err := s.report(c)
	if err != nil {
		return err
	}
	if given(c, "fix") {
		if r, err = s.fix(c, r); err != nil {
			return err
		}
	}
	if given(c, "json") {
		err = s.printJSON(r)
	} else {
		err = s.printReport(r)
	}
	strict := given(c, "strict")
	if err == nil && (slices.ContainsFunc(r.Findings, func(f lint.Finding) bool { return f.Severity == lint.Error || strict }) ||
		slices.ContainsFunc(r.Problems, func(p specs.Problem) bool { return !p.Warning || strict })) {
		return &exit{code: exitError}
	}
	return err
}

func (s system) explain(code string) error {
	r, ok := lint.RuleOf(strings.ToUpper(code))
	if !ok {
		var known []string
		for _, r := range lint.Rules() {
			known = append(known, r.Code)
		}
		return usagef("--explain %s: there is no such rule: they are %s to %s", code, known[0], known[len(known)-1])
	}
	_, err := fmt.Fprint(s.Stdout, r.Explain())
	return err
}

// report is what lint finds, and the JSON it prints.
type report struct {
	Problems []specs.Problem `json:"problems"`
	Findings []lint.Finding  `json:"findings"`
	Fixed    []lint.Finding  `json:"fixed,omitempty"`

	changes []string
	files   map[string][]byte // YAML by path
}

func (s system) printReport(r report) error {
	var text string
	switch {
	case len(r.Problems) > 0:
		text = (&specs.Error{Problems: r.Problems}).Error() + "\n"
	case len(r.Findings) == 0:
		text = "nothing is wrong\n"
	}
	if len(r.Findings) > 0 {
		if text != "" {
			text += "\n"
		}
		text += shown(r.Findings)
	}
	if len(r.changes) > 0 {
		text = strings.Join(r.changes, "") + "\n" + text
	}
	_, err := fmt.Fprint(s.Stdout, text)
	return err
}

// fix makes safe edits until none is left. A second round finds what the first one uncovered.
func (s system) fix(c *cli.Context, r report) (report, error) {
	for range 5 {
		fixed, changes, err := repair(r.Findings, r.files)
		if err != nil {
			return r, err
		}
		if len(fixed) == 0 {
			break
		}
		next, err := s.report(c)
		if err != nil {
			return r, err
		}
		next.Fixed, next.changes = append(r.Fixed, fixed...), append(r.changes, changes...)
		r = next
	}
	return r, nil
}

// report returns everything that is wrong with the spec and the LinuxKit YAML that it names, and every finding.
func (s system) report(c *cli.Context) (report, error) {
	r := report{Problems: []specs.Problem{}, Findings: []lint.Finding{}, files: map[string][]byte{}}
	spec, err := s.spec(c)
	if err != nil {
		if problems := specs.Problems(err); problems != nil {
			r.Problems = problems
			return r, nil
		}
		return r, err
	}
	r.Problems = append(r.Problems, spec.Warnings...)
	lock, err := images.ReadLock(lockPath(spec))
	if err != nil {
		return r, err
	}
	for _, img := range spec.Images {
		in, found := readYAML(spec, img)
		r.Problems = append(r.Problems, found...)
		if len(in.YAML) < len(img.LinuxKit) || faulty(in) {
			continue
		}
		for _, y := range in.YAML {
			r.files[y.Name] = y.Data
		}
		r.add(findings(spec, img, in, lock, need(c.String("out"), img)))
		if len(found) > 0 {
			continue
		}
		if _, err := build.References(in); err != nil {
			r.Problems = append(r.Problems, yamlProblems(err, in, img.Pos)...)
		}
	}
	for _, f := range spec.Fleets {
		r.Problems = append(r.Problems, f.Unsupported()...)
	}
	return r, nil
}

// add appends findings without those that are known from another image that uses the same file.
func (r *report) add(list []lint.Finding) {
	for _, f := range list {
		same := func(g lint.Finding) bool {
			return g.Code == f.Code && g.File == f.File && g.Line == f.Line && g.Column == f.Column && g.Text == f.Text
		}
		if !slices.ContainsFunc(r.Findings, same) {
			r.Findings = append(r.Findings, f)
		}
	}
}

// readYAML fills a build's input from an image block and reports files that cannot be read or are faulty.
func readYAML(spec specs.Spec, img specs.Image) (build.Input, []specs.Problem) {
	in := build.Input{Name: img.Name, Arch: img.Arch, Boot: img.Boot, Rootfs: img.Rootfs, Compress: img.Compress}
	var problems []specs.Problem
	for i, name := range img.LinuxKit {
		path := beside(spec, name)
		b, err := os.ReadFile(path)
		if err != nil {
			problems = append(problems, specs.Problem{Pos: img.Written[i], Summary: "Unreadable LinuxKit YAML",
				Detail: err.Error() + ": write the file, or the name of one that is there; names start from the directory of the spec."})
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
