package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/build/lint"
	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/specs"
)

// findings returns the traps in an image's YAML, which must be free of problems. need is the memory in bytes that the
// image needs to boot, 0 when nobody knows.
func findings(spec specs.Spec, img specs.Image, in build.Input, lock images.Lock, need int64) []lint.Finding {
	ctx := lint.Context{Rootfs: img.Rootfs, Need: need, Format: build.FormatImage, Mount: build.MountImage, Pinned: func(ref string) bool {
		canonical, err := images.Canonical(ref)
		return err == nil && len(lock.Images[canonical].Platforms) > 0
	}}
	for _, p := range img.Persist {
		ctx.Persist = append(ctx.Persist, lint.Persist{Mount: p.Mount, Label: p.Label, Filesystem: p.Filesystem, Via: p.Via})
	}
	for _, f := range spec.Fleets {
		if f.Image != img.Name {
			continue
		}
		at := f.VM.Pos
		if at.File == "" {
			at = f.Pos
		}
		ctx.Fleets = append(ctx.Fleets, lint.Fleet{Name: f.Name, Memory: int64(f.VM.Memory), File: at.File, Line: at.Line, Column: at.Column})
	}
	var files []lint.Source
	for _, y := range in.YAML {
		files = append(files, lint.Source{Name: y.Name, Data: y.Data})
	}
	return lint.Check(files, ctx)
}

// lintWarnings returns one line for each trap in an image's YAML, for lkv build to print while it goes on. Faulty YAML
// has none: it has problems.
func lintWarnings(spec specs.Spec, img specs.Image, in build.Input, lock images.Lock) []string {
	if faulty(in) {
		return nil
	}
	var lines []string
	for _, f := range findings(spec, img, in, lock, 0) {
		lines = append(lines, fmt.Sprintf("%s: %s: %s (lkv lint --explain %s)", place(f), f.Code, f.Text, f.Code))
	}
	return lines
}

// faulty tells whether a file of an input has problems.
func faulty(in build.Input) bool {
	return slices.ContainsFunc(in.YAML, func(y build.Source) bool { return len(build.Check(y.Name, y.Data)) > 0 })
}

func place(f lint.Finding) specs.Pos { return specs.Pos{File: f.File, Line: f.Line, Column: f.Column} }

// need returns the memory that the newest ISO of an image needs to boot, 0 when there is none that tells.
func need(out string, img specs.Image) int64 {
	iso, err := newestISO(out, img.Name)
	if err != nil {
		return 0
	}
	m, ok, err := manifestOf(iso)
	if err != nil || !ok || m.Rootfs != img.Rootfs {
		return 0
	}
	return m.RAM.Minimum
}

// shown renders findings, one paragraph each, and their number.
func shown(list []lint.Finding) string {
	var b strings.Builder
	bad, safe := 0, 0
	for _, f := range list {
		p := specs.Problem{Pos: place(f), Summary: fmt.Sprintf("%s %s: %s", f.Severity, f.Code, f.Text), Detail: "Why: " + f.Why + "\nFix: " + f.Fix, Source: f.Source, Width: 1}
		b.WriteString(p.String() + "\n\n")
		if f.Severity == lint.Error {
			bad++
		}
		if f.Edit != nil {
			safe++
		}
	}
	b.WriteString(count(bad, "error") + ", " + count(len(list)-bad, "warning"))
	if safe > 0 {
		fmt.Fprintf(&b, "; lkv lint --fix repairs %d", safe)
	}
	return b.String() + "\n"
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
