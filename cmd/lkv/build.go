package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/specs"
)

func (s system) buildCommand() *cli.Command {
	return &cli.Command{
		Name: "build", Usage: "build each image into one ISO that boots with BIOS and UEFI, with its manifest",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "image", Usage: "build only the image `NAME`; may be repeated"},
			&cli.StringFlag{Name: "out", Value: "dist", Usage: "write into `DIR`"},
			&cli.BoolFlag{Name: "locked", Usage: "refuse references that lkv.lock does not pin"},
			&cli.BoolFlag{Name: "offline", Usage: "never speak to a registry"},
			&cli.StringFlag{Name: "compress", Usage: "`LEVEL` of compression, \"fastest\", \"default\" or \"best\", instead of the image's own"},
			&cli.StringSliceFlag{Name: "also", Usage: "write `OUTPUT` beside the ISO: \"kernel+initrd\" or \"uki\"; may be repeated"},
			&cli.StringFlag{Name: "efi", Usage: "what UEFI firmware starts, \"uki\" or \"grub\" (`KIND`), instead of the image's own"},
			&cli.StringFlag{Name: "secure-boot-key", Usage: "sign for Secure Boot with the key in `FILE` (PEM), instead of the image's own"},
			&cli.StringFlag{Name: "secure-boot-cert", Usage: "certificate of that key, `FILE` (PEM)"},
			&cli.StringFlag{Name: "sign", Usage: "sign manifest and provenance with the key in `FILE` (PEM; password of a cosign key: LKV_SIGN_PASSWORD)"},
			&cli.StringSliceFlag{Name: "insecure", Usage: insecureUsage},
		},
		Action: s.build,
	}
}

// madeISO is one image in the JSON of build.
type madeISO struct {
	Name     string   `json:"name"`
	ISO      string   `json:"iso"`
	SHA256   string   `json:"sha256"`
	Size     int64    `json:"size"`
	Manifest string   `json:"manifest"`
	SBOM     string   `json:"sbom"`
	Files    []string `json:"files"` // everything beside the ISO, SBOM included
	Boot     []string `json:"boot"`
	Cached   bool     `json:"cached"`
	Seconds  float64  `json:"seconds"`
}

func (s system) build(c *cli.Context) error {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	chosen, err := pick(c, "image", "image", spec.Images, func(i specs.Image) string { return i.Name })
	if err != nil {
		return err
	}
	progress := s.progress(c)
	defer progress.Wait()
	inputs, err := s.buildInputs(c, spec, chosen, progress)
	if err != nil {
		return err
	}
	var list []madeISO
	for i, in := range inputs {
		made, err := s.buildOne(c.Context, in, progress)
		if err != nil {
			return buildError(err, in, chosen[i].Pos)
		}
		list = append(list, made)
	}
	progress.Wait()
	if given(c, "json") {
		return s.printJSON(map[string][]madeISO{"images": list})
	}
	for _, m := range list {
		if _, err := fmt.Fprintf(s.Stdout, "%s  %s  sha256 %s\n", m.ISO, ui.Bytes(m.Size), m.SHA256); err != nil {
			return err
		}
	}
	return nil
}

// buildInputs fills the inputs of every chosen image before any is built, so that a fault in the last one is found first.
func (s system) buildInputs(c *cli.Context, spec specs.Spec, chosen []specs.Image, progress *ui.Progress) ([]build.Input, error) {
	epoch, err := s.epoch()
	if err != nil {
		return nil, err
	}
	src, err := s.source(c, spec, progress)
	if err != nil {
		return nil, err
	}
	signer, err := s.signer(c)
	if err != nil {
		return nil, err
	}
	var inputs []build.Input
	var problems []specs.Problem
	for _, img := range chosen {
		in, found := readYAML(spec, img)
		problems = append(problems, found...)
		in.Images, in.Epoch, in.Home, in.Out, in.Version = src, epoch, s.Env["HOME"], c.String("out"), s.Version
		in.Also = c.StringSlice("also")
		in.Compress = cmp.Or(c.String("compress"), in.Compress)
		in.EFI = cmp.Or(c.String("efi"), img.EFI)
		if in.SecureBoot, err = secureBoot(c, spec, img); err != nil {
			return nil, err
		}
		in.Sign = signer
		for _, line := range lintWarnings(spec, img, in, src.Lock) {
			progress.Line("lint %s", line)
		}
		in.Cache = filepath.Join(src.Cache.Dir(), "segments")
		inputs = append(inputs, in)
	}
	if len(problems) > 0 {
		return nil, &specs.Error{Problems: problems}
	}
	return inputs, nil
}

// epoch returns SOURCE_DATE_EPOCH, the convention of reproducible builds; zero when it is not set.
func (s system) epoch() (time.Time, error) {
	v := s.Env["SOURCE_DATE_EPOCH"]
	if v == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH is %q: it takes seconds since 1970", v)
	}
	return time.Unix(n, 0).UTC(), nil
}

func (s system) buildOne(ctx context.Context, in build.Input, progress *ui.Progress) (madeISO, error) {
	start := s.Now()
	item := progress.Start("build "+in.Name, 0)
	in.Progress = func(e build.Event) {
		switch {
		case e.Step == "warning":
			progress.Line("build %s: warning: %s", in.Name, e.Name)
		case e.Step == "segment" && !e.Cached:
			progress.Line("build %s: %s, %s (%d of %d)", in.Name, e.Name, ui.Bytes(e.Bytes), e.Count, e.Total)
		}
	}
	res, err := build.Build(ctx, in)
	if err != nil {
		item.Fail(errors.New("see below"))
		return madeISO{}, err
	}
	note := ui.Bytes(res.Manifest.ISO.Size)
	if res.Cached {
		note += ", nothing has changed"
	}
	item.Done(note)
	made := madeISO{
		Name: in.Name, ISO: res.ISO, SHA256: res.Manifest.ISO.SHA256, Size: res.Manifest.ISO.Size, Manifest: res.Path,
		Boot: res.Manifest.Boot, Cached: res.Cached, Seconds: s.Now().Sub(start).Seconds(),
	}
	for _, f := range res.Manifest.Files {
		path := filepath.Join(filepath.Dir(res.ISO), f.Name)
		made.Files = append(made.Files, path)
		if f.Kind == "spdx" {
			made.SBOM = path
		}
	}
	return made, nil
}

// buildError says where the fault of a build stands and what helps.
func buildError(err error, in build.Input, at specs.Pos) error {
	var faults build.Problems
	if errors.As(err, &faults) {
		return &specs.Error{Problems: yamlProblems(err, in, at)}
	}
	return fmt.Errorf("build %s: %w", in.Name, err)
}
