package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/images/base"
	"github.com/lkv-io/lkv/internal/ui"
)

func (s system) imagesCommand() *cli.Command {
	return &cli.Command{
		Name: "images", Usage: "the component images and the cache",
		Subcommands: []*cli.Command{
			{
				Name: "build", ArgsUsage: "[NAME...]", Usage: "build component images from Debian packages into the cache, all when none is named",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "suite", Value: base.DefaultSuite, Usage: "Debian `SUITE`"},
					&cli.StringFlag{Name: "mirror", Usage: "`URI` of a Debian mirror (default: this machine's)"},
					&cli.StringFlag{Name: "guest", Usage: "`PATH` of the program lkv-guest (default: beside lkv)"},
					&cli.StringFlag{Name: "push", Usage: "push the images to the registry `REG`, for example ghcr.io/acme, which makes lkv/init:1 ghcr.io/acme/init:1"},
					&cli.StringSliceFlag{Name: "insecure", Usage: insecureUsage},
				},
				Action: s.imagesBuild,
			},
			{Name: "ls", Usage: "list the images in the cache", Action: s.imagesList},
			s.imagesImportCommand(), s.imagesExportCommand(), s.imagesPruneCommand(),
		},
	}
}

// built is one component in the JSON of images build.
type built struct {
	Name    string  `json:"name"`
	Ref     string  `json:"ref"`
	Digest  string  `json:"digest"`
	Seconds float64 `json:"seconds"`
	Pushed  string  `json:"pushed,omitempty"` // the reference at the registry
}

func (s system) imagesBuild(c *cli.Context) error {
	all, err := base.Components()
	if err != nil {
		return err
	}
	chosen, err := chooseComponents(all, c.Args().Slice())
	if err != nil {
		return err
	}
	cache, err := s.openCache(c)
	if err != nil {
		return err
	}
	guest, err := s.guest(c)
	if err != nil {
		return err
	}
	opt := base.Options{Suite: c.String("suite"), Mirror: c.String("mirror"), Guest: guest, WorkDir: filepath.Join(cache.Dir(), "packages")}
	if err := os.MkdirAll(opt.WorkDir, 0o777); err != nil {
		return fmt.Errorf("make directory for packages: %w", err)
	}
	progress := s.progress(c)
	defer progress.Wait()
	if given(c, "verbose") {
		opt.Log = lines{progress}
	}
	list, err := s.buildAll(c.Context, cache, chosen, opt, progress)
	if err != nil {
		return err
	}
	if reg := c.String("push"); reg != "" {
		src := &images.Source{Cache: cache, Insecure: texts(c, "insecure")}
		src.Platform.OS, src.Platform.Architecture = "linux", "amd64"
		if err := pushComponents(c.Context, src, list, reg, progress); err != nil {
			return err
		}
	}
	progress.Wait()
	if given(c, "json") {
		return s.printJSON(map[string][]built{"images": list})
	}
	var rows [][]string
	for _, b := range list {
		rows = append(rows, []string{b.Ref, ui.Short(b.Digest), b.Pushed})
	}
	return ui.Table(s.Stdout, s.style(), []string{"IMAGE", "DIGEST", "PUSHED"}, rows)
}

// pushComponents copies what was built to a registry and notes under which reference.
func pushComponents(ctx context.Context, src *images.Source, list []built, reg string, p *ui.Progress) error {
	for i, b := range list {
		to := strings.TrimSuffix(reg, "/") + "/" + strings.TrimPrefix(b.Ref, "lkv/")
		item := p.Start("push "+to, 0)
		_, present, err := src.Push(ctx, b.Ref, to)
		if err != nil {
			item.Fail(errors.New("see below"))
			return err
		}
		note := "sent"
		if present {
			note = "present"
		}
		item.Done(note)
		list[i].Pushed = to
	}
	return nil
}

// buildAll downloads once for all components, then builds one after the other: mmdebstrap and compression use all
// processors by themselves.
func (s system) buildAll(ctx context.Context, cache *images.Cache, cs []base.Component, opt base.Options, p *ui.Progress) ([]built, error) {
	item := p.Start("packages", 0)
	if _, err := base.Fetch(ctx, cs, opt); err != nil {
		item.Fail(err)
		return nil, fmt.Errorf("fetch packages: %w", err)
	}
	item.Done("")
	var list []built
	for _, comp := range cs {
		start := s.Now()
		item := p.Start("image "+comp.Name, 0)
		img, err := base.Build(ctx, comp, opt)
		if err == nil {
			digest, putErr := cache.Put(ctx, comp.Ref, img)
			err = putErr
			list = append(list, built{Name: comp.Name, Ref: comp.Ref, Digest: digest.String(), Seconds: s.Now().Sub(start).Seconds()})
		}
		if err != nil {
			item.Fail(err)
			return nil, fmt.Errorf("build image %s: %w", comp.Name, err)
		}
		item.Done(comp.Ref)
	}
	return list, nil
}

func chooseComponents(all []base.Component, names []string) ([]base.Component, error) {
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	by := map[string]base.Component{}
	for _, comp := range all {
		known, by[comp.Name] = append(known, comp.Name), comp
	}
	var chosen []base.Component
	for _, n := range names {
		comp, ok := by[n]
		if !ok {
			return nil, usagef("there is no component %q%s: known are %s", n, suggestion(n, known), strings.Join(known, ", "))
		}
		chosen = append(chosen, comp)
	}
	return chosen, nil
}

// guest returns the path of lkv-guest, which goes into the component images.
func (s system) guest(c *cli.Context) (string, error) {
	path := c.String("guest")
	if path == "" {
		path = filepath.Join(filepath.Dir(s.Executable), "lkv-guest")
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: build it with CGO_ENABLED=0 go build ./cmd/lkv-guest, or name it with --guest", path)
	}
	return path, nil
}

func (s system) imagesList(c *cli.Context) error {
	cache, err := s.openCache(c)
	if err != nil {
		return err
	}
	list, err := cache.List()
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	return s.printImages(c, list)
}

func (s system) printImages(c *cli.Context, list []images.Entry) error {
	if given(c, "json") {
		return s.printJSON(map[string][]images.Entry{"images": append([]images.Entry{}, list...)})
	}
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{e.Ref, e.Platform.String(), ui.Short(e.Digest.String()), ui.Bytes(e.Size)})
	}
	return ui.Table(s.Stdout, s.style(), []string{"IMAGE", "PLATFORM", "DIGEST", "SIZE"}, rows)
}

// lines shows what is written to it line by line, above the progress.
type lines struct{ p *ui.Progress }

var _ io.Writer = lines{}

func (l lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		l.p.Line("%s", strings.TrimRight(line, "\r\n"))
	}
	return len(b), nil
}
