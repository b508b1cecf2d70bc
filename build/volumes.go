package build

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"gopkg.in/yaml.v3"
)

// volume is one entry of "volumes", which newer LinuxKit knows and the moby package here does not: a directory
// with an image's files, or an empty one, that containers bind by its name. Writes go to memory.
type volume struct {
	Name      string   `yaml:"name"`
	Image     string   `yaml:"image"` // empty makes an empty volume
	ReadOnly  bool     `yaml:"readonly"`
	Format    string   `yaml:"format"` // "filesystem", also when empty
	Platforms []string `yaml:"platforms"`
}

// volumes is the section directory, containers/volumes, and the key in the YAML.
const volumes = "volumes"

func (v volume) dir() string { return path.Join("containers", volumes, v.Name) }

// merged is where the init mounts the volume and containers bind it from.
func (v volume) merged() string { return path.Join(v.dir(), "merged") }

// takeVolumes splits a YAML file Check found nothing wrong with into its volumes and what moby understands.
func takeVolumes(data []byte) ([]volume, []byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) == 0 {
		return nil, data, err
	}
	top := doc.Content[0]
	at := volumesKey(top)
	if at < 0 {
		return nil, data, nil
	}
	var out []volume
	if err := top.Content[at+1].Decode(&out); err != nil {
		return nil, nil, fmt.Errorf("read volumes: %w", err)
	}
	top.Content = slices.Delete(top.Content, at, at+2)
	rest, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, nil, fmt.Errorf("read volumes: %w", err)
	}
	return out, rest, nil
}

// volumesKey is where the document's mapping has its own key "volumes", -1 when it has none.
func volumesKey(top *yaml.Node) int {
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value == volumes {
			return i
		}
	}
	return -1
}

// bindVolumes lets containers name a volume where a path stands in binds and mounts.
func bindVolumes(m moby.Moby, list []volume) error {
	byName := map[string]volume{}
	for _, v := range list {
		if _, twice := byName[v.Name]; twice {
			return fmt.Errorf("volume %q is there twice", v.Name)
		}
		byName[v.Name] = v
	}
	for _, section := range [][]*moby.Image{m.Onboot, m.Onshutdown, m.Services} {
		for _, e := range section {
			if err := bindInto(e, byName); err != nil {
				return fmt.Errorf("container %s: %w", e.Name, err)
			}
		}
	}
	return nil
}

func bindInto(e *moby.Image, byName map[string]volume) error {
	for _, binds := range []*[]string{e.Binds, e.BindsAdd} {
		if binds == nil {
			continue
		}
		for i, b := range *binds {
			source, rest, _ := strings.Cut(b, ":")
			options := strings.Split(rest, ":")[1:]
			at, err := mountedVolume(source, strings.Split(strings.Join(options, ","), ","), byName)
			if err != nil {
				return fmt.Errorf("bind %s: %w", b, err)
			}
			(*binds)[i] = at + strings.TrimPrefix(b, source)
		}
	}
	if e.Mounts == nil {
		return nil
	}
	for i, mount := range *e.Mounts {
		if mount.Type != "bind" {
			continue
		}
		at, err := mountedVolume(mount.Source, mount.Options, byName)
		if err != nil {
			return fmt.Errorf("mount on %s: %w", mount.Destination, err)
		}
		(*e.Mounts)[i].Source = at
	}
	return nil
}

// mountedVolume is where the source of a bind lies in the machine: itself when it is a path.
func mountedVolume(source string, options []string, byName map[string]volume) (string, error) {
	v, ok := byName[source]
	switch {
	case path.IsAbs(source) || source == "":
		return source, nil
	case !ok:
		return "", fmt.Errorf("%q is neither a path nor one of the volumes", source)
	case v.ReadOnly && !slices.Contains(options, "ro"):
		return "", fmt.Errorf(`volume %q is read-only: add the option "ro"`, source)
	}
	return "/" + v.merged(), nil
}

// volumeBundles are the volumes with an image. They own their files even when a container has the same image,
// because a writable volume's changes must not show there.
func (c config) volumeBundles(images map[string]resolved) []bundle {
	var out []bundle
	for _, v := range c.volumes {
		if v.Image == "" {
			continue
		}
		e := container{&moby.Image{Name: v.Name, Image: v.Image}, volumes, v.dir()}
		out = append(out, bundle{container: e, image: images[v.Image], rootfs: path.Join(v.dir(), "lower"), owner: true, readonly: v.ReadOnly})
	}
	return out
}

// volumeDirs are the directories the init mounts the volumes with.
func (c config) volumeDirs(mtime int64) []entry {
	var names []string
	for _, v := range c.volumes {
		names = append(append(names, parents(v.dir())...), v.dir(), v.merged())
		if v.Image == "" {
			names = append(names, path.Join(v.dir(), "lower"))
		}
		if !v.ReadOnly {
			names = append(names, path.Join(v.dir(), "tmp"))
		}
	}
	return merge(dirEntries(names, mtime))
}

// volumes checks what a volume needs beyond types.
func (c *checker) volumes(doc *yaml.Node) {
	c.names(doc, volumes)
	if v := child(doc, volumes); v != nil && volumesKey(follow(doc)) < 0 {
		c.say(v, "%q cannot come from a merge: write it at the top of the file", volumes)
	}
	for _, e := range items(child(doc, volumes)) {
		if i := child(e, "image"); i != nil && i.Value != "" {
			c.reference(i)
		}
		if f := child(e, "format"); f != nil && f.Value == "oci" {
			c.say(f, `lkv makes volumes of format "filesystem" only`)
		} else if f != nil && f.Value != "" && f.Value != "filesystem" {
			c.say(f, `format is "filesystem", not %q`, f.Value)
		}
		for _, p := range items(child(e, "platforms")) {
			if p.Value != "linux/amd64" {
				c.say(p, `a volume of format "filesystem" has the platform of the ISO: linux/amd64`)
			}
		}
	}
}
