package oracle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/util"
)

// refName is the annotation both programs find images by.
const refName = "org.opencontainers.image.ref.name"

// Expand is a reference as it stands in both caches.
func Expand(ref string) string { return util.ReferenceExpand(ref) }

// withTag adds the tag Docker implies. LinuxKit's cache does without.
func withTag(ref string) string {
	if strings.Contains(ref[strings.LastIndex(ref, "/"):], ":") {
		return ref
	}
	return ref + ":latest"
}

var platform = &v1.Platform{OS: "linux", Architecture: "amd64"}

// Caches are two OCI layouts with the same images: one as lkv keeps them, one in the shape LinuxKit reads
// fastest. LinuxKit unpacks a plain image three times to check it, at every use; one that lies inside of an index
// it trusts.
type Caches struct {
	LKV      string // directory
	LinuxKit string // directory
}

// NewCaches makes empty caches below dir, or opens those that are there.
func NewCaches(dir string) (Caches, error) {
	c := Caches{LKV: filepath.Join(dir, "lkv"), LinuxKit: filepath.Join(dir, "linuxkit")}
	for _, d := range []string{c.LKV, c.LinuxKit} {
		if _, err := os.Stat(filepath.Join(d, "index.json")); err == nil {
			continue
		}
		if _, err := layout.Write(d, empty.Index); err != nil {
			return c, fmt.Errorf("make image cache: %w", err)
		}
	}
	return c, nil
}

// Add puts an image into both caches under a reference as YAML names it.
func (c Caches) Add(ref string, img v1.Image) error {
	name := layout.WithAnnotations(map[string]string{refName: Expand(ref)})
	tagged := layout.WithAnnotations(map[string]string{refName: withTag(Expand(ref))})
	for dir, put := range map[string]func(layout.Path) error{
		c.LKV: func(p layout.Path) error { return p.AppendImage(img, tagged, layout.WithPlatform(*platform)) },
		c.LinuxKit: func(p layout.Path) error {
			return p.AppendIndex(mutate.AppendManifests(empty.Index,
				mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}}), name)
		},
	} {
		p, err := layout.FromPath(dir)
		if err == nil {
			err = put(p)
		}
		if err != nil {
			return fmt.Errorf("add %s to image cache: %w", ref, err)
		}
	}
	return nil
}

// AddAs puts an image into lkv's cache under a reference with a registry LinuxKit does not understand.
func (c Caches) AddAs(ref string, img v1.Image) error {
	p, err := layout.FromPath(c.LKV)
	if err == nil {
		err = p.AppendImage(img, layout.WithAnnotations(map[string]string{refName: ref}), layout.WithPlatform(*platform))
	}
	if err != nil {
		return fmt.Errorf("add %s to image cache: %w", ref, err)
	}
	return nil
}

// Copy adds every image of another OCI layout, as "make components" leaves it.
func (c Caches) Copy(from string) error {
	p, err := layout.FromPath(from)
	if err != nil {
		return fmt.Errorf("open image cache (run make components): %w", err)
	}
	list, err := manifests(p)
	if err != nil {
		return err
	}
	for _, d := range list {
		img, err := p.Image(d.Digest)
		if err != nil {
			return fmt.Errorf("read image cache: %w", err)
		}
		if err := c.Add(d.Annotations[refName], img); err != nil {
			return err
		}
	}
	return nil
}

// Image returns an image of the caches.
func (c Caches) Image(ref string) (v1.Image, error) {
	p, err := layout.FromPath(c.LKV)
	if err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	list, err := manifests(p)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if d.Annotations[refName] == withTag(Expand(ref)) {
			return p.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("image %s is not in the cache", ref)
}

// Created lists when the images of the caches were made.
func (c Caches) Created() ([]time.Time, error) {
	p, err := layout.FromPath(c.LKV)
	if err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	list, err := manifests(p)
	if err != nil {
		return nil, err
	}
	var out []time.Time
	for _, d := range list {
		img, err := p.Image(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("read image cache: %w", err)
		}
		cf, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("read image cache: %w", err)
		}
		out = append(out, cf.Created.Time)
	}
	return out, nil
}

func manifests(p layout.Path) ([]v1.Descriptor, error) {
	idx, err := p.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("read image cache: %w", err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read image cache: %w", err)
	}
	return m.Manifests, nil
}

func names(dir string) (map[string]bool, error) {
	p, err := layout.FromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("open LinuxKit's image cache: %w", err)
	}
	list, err := manifests(p)
	have := map[string]bool{}
	for _, d := range list {
		have[d.Annotations[refName]] = true
	}
	return have, err
}

// Replace puts another image into lkv's cache in the place of one that is there.
func (c Caches) Replace(ref string, img v1.Image) error {
	p, err := layout.FromPath(c.LKV)
	if err == nil {
		err = p.ReplaceImage(img, match.Name(withTag(Expand(ref))), layout.WithPlatform(*platform),
			layout.WithAnnotations(map[string]string{refName: withTag(Expand(ref))}))
	}
	if err != nil {
		return fmt.Errorf("replace %s in image cache: %w", ref, err)
	}
	return nil
}
