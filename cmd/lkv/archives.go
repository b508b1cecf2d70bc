package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/specs"
)

const defaultPlatform = "linux/amd64"

func (s system) imagesImportCommand() *cli.Command {
	return &cli.Command{
		Name: "import", ArgsUsage: "PATH",
		Usage: "store the images of an OCI layout (directory or tar) or a docker save archive in the cache",
		Description: "Builds find them there under their names, without a registry. Tools often write only a tag into a layout; then\n" +
			"--ref says what the image is called.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "ref", Usage: "store the image under the reference `REF` instead of its name in the archive"},
			&cli.StringFlag{Name: "pick", Usage: "take only the image with this `NAME`, tag or digest (default: all that have a name)"},
			&cli.StringFlag{Name: "platform", Value: defaultPlatform, Usage: "take the images for `OS/ARCH`"},
		},
		Action: s.imagesImport,
	}
}

func (s system) imagesImport(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("name one layout or archive: lkv images import image.tar")
	}
	in := images.Import{Path: c.Args().First(), Ref: c.String("ref"), Pick: c.String("pick")}
	var err error
	if in.Platform, err = images.ParsePlatform(c.String("platform")); err != nil {
		return &exit{exitUsage, err}
	}
	cache, err := s.openCache(c)
	if err != nil {
		return err
	}
	list, err := cache.Import(c.Context, in)
	if err != nil {
		return err
	}
	return s.printImages(c, list)
}

func (s system) imagesExportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", ArgsUsage: "DIR", Usage: "write an image of the cache into an OCI layout in a directory",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "ref", Required: true, Usage: "the image with the reference `REF`"},
			&cli.StringFlag{Name: "platform", Value: defaultPlatform, Usage: "the image for `OS/ARCH`"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("name one directory: lkv images export --ref %s DIR", c.String("ref"))
			}
			p, err := images.ParsePlatform(c.String("platform"))
			if err != nil {
				return &exit{exitUsage, err}
			}
			cache, err := s.openCache(c)
			if err != nil {
				return err
			}
			digest, err := cache.Export(c.String("ref"), p, c.Args().First())
			if err != nil {
				return err
			}
			if given(c, "json") {
				return s.printJSON(map[string]string{"ref": c.String("ref"), "digest": digest.String(), "path": c.Args().First()})
			}
			_, err = fmt.Fprintf(s.Stdout, "%s  %s\n", c.Args().First(), digest)
			return err
		},
	}
}

func (s system) imagesPruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "remove from the cache what no build has used for a while, and what nothing refers to",
		Description: "Component images (lkv/…) stay unless --all is given: making them again takes minutes.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "older-than", Value: "30d", Usage: "keep what was used within `TIME`, for example 12h"},
			&cli.BoolFlag{Name: "all", Usage: "remove everything, also components and what was used just now; no build may run"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
		},
		Action: s.imagesPrune,
	}
}

// pruned is the JSON of images prune.
type pruned struct {
	DryRun       bool           `json:"dry_run"`
	Images       []images.Entry `json:"images"`
	Blobs        int            `json:"blobs"`
	Bytes        int64          `json:"bytes"` // of blobs
	SegmentBytes int64          `json:"segment_bytes"`
}

func (s system) imagesPrune(c *cli.Context) error {
	all, dry := given(c, "all"), given(c, "dry-run")
	if all && setIn(c, "older-than") != nil {
		return usagef("--all removes everything whatever its age: leave out --older-than")
	}
	age, err := specs.ParseDuration(c.String("older-than"))
	if err != nil {
		return usagef("--older-than %s: %w", c.String("older-than"), err)
	}
	before := s.Now().Add(-age)
	if all {
		before = s.Now().Add(time.Hour) // whatever the clock of the file system says
	}
	cache, err := s.openCache(c)
	if err != nil {
		return err
	}
	keep := func(e images.Entry) bool { return !all && (e.Local() || !e.Used.Before(before)) }
	got, err := cache.Prune(c.Context, keep, dry)
	if err != nil {
		return err
	}
	segments, err := build.Prune(filepath.Join(cache.Dir(), "segments"), before, dry)
	if err != nil {
		return err
	}
	if given(c, "json") {
		return s.printJSON(pruned{dry, append([]images.Entry{}, got.Images...), got.Blobs, got.Bytes, segments})
	}
	var names []string
	for _, e := range got.Images {
		names = append(names, e.Ref+" "+ui.Short(e.Digest.String()))
	}
	if len(names) > 0 {
		if _, err := fmt.Fprintln(s.Stdout, strings.Join(names, "\n")); err != nil {
			return err
		}
	}
	word := "freed"
	if dry {
		word = "would free"
	}
	_, err = fmt.Fprintf(s.Stdout, "%s %s: %d images, %d blobs (%s), segments (%s)\n", word, ui.Bytes(got.Bytes+segments),
		len(got.Images), got.Blobs, ui.Bytes(got.Bytes), ui.Bytes(segments))
	return err
}
