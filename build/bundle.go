package build

import (
	"encoding/json"
	"fmt"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// mobyLabel is the image label with a container's LinuxKit defaults.
const mobyLabel = "org.mobyproject.config"

// bundle is one container's directory in the root file system.
type bundle struct {
	container
	image    resolved
	oci      specs.Spec
	runtime  moby.Runtime
	rootfs   string // where the image's files lie; another bundle's directory when that has them already
	owner    bool   // the image's files are unpacked here
	readonly bool
	user     string // the image's USER when it counts; see runAs
}

// bundles turns every container into its OCI bundle, volumes last. An image used twice is unpacked once.
func (c config) bundles(images map[string]resolved) ([]bundle, error) {
	placed := map[v1.Hash]string{}
	var out []bundle
	for _, e := range c.containers() {
		b, err := c.bundle(e, images[e.Image.Image])
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", e.section, e.Name, err)
		}
		b.rootfs = placed[b.image.digest]
		if b.rootfs == "" {
			b.owner = true
			b.rootfs = path.Join(e.dir, "lower")
			if b.readonly {
				b.rootfs = path.Join(e.dir, "rootfs")
			}
			placed[b.image.digest] = b.rootfs
		}
		out = append(out, b)
	}
	return append(out, c.volumeBundles(images)...), nil
}

func (c config) bundle(e container, img resolved) (bundle, error) {
	if l := img.config.Config.Labels[mobyLabel]; l != "" {
		if err := checkLabel(img.ref, l); err != nil {
			return bundle{}, err
		}
	}
	oci, runtime, err := moby.ConfigToOCI(e.Image, imageConfig(img.config.Config), c.ids)
	if err != nil {
		return bundle{}, err
	}
	if len(oci.Process.Args) == 0 {
		return bundle{}, fmt.Errorf("image %s has no command and the YAML gives none", img.ref)
	}
	user, err := imageUser(e.Image, img.config.Config.User, img.config.Config.Labels[mobyLabel])
	if err != nil {
		return bundle{}, err
	}
	b := bundle{container: e, image: img, oci: oci, runtime: runtime, readonly: oci.Root.Readonly, user: user}
	if numericUser(user) {
		err = b.runAs(nil, nil)
	}
	return b, err
}

// imageConfig passes on what LinuxKit looks at.
func imageConfig(c v1.Config) imagespec.ImageConfig {
	return imagespec.ImageConfig{
		User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir, Labels: c.Labels,
	}
}

// mounts are what the init makes before it starts the container: an overlay that keeps writes in memory, or a
// bind mount because runc wants its root to be a mount point.
func (b bundle) mounts() []specs.Mount {
	if b.readonly {
		return []specs.Mount{{Source: "/" + b.rootfs, Destination: "/" + path.Join(b.dir, "rootfs"), Options: []string{"bind"}}}
	}
	tmp := "/" + path.Join(b.dir, "tmp")
	return []specs.Mount{
		{Source: "tmpfs", Type: "tmpfs", Destination: tmp},
		{Destination: tmp, Options: []string{"remount", "private"}},
		{Source: "overlay", Type: "overlay", Destination: "/" + path.Join(b.dir, "rootfs"),
			Options: []string{"lowerdir=/" + b.rootfs, "upperdir=" + tmp + "/upper", "workdir=" + tmp + "/work"}},
	}
}

// entries are the bundle's own files, without the image's.
func (b bundle) entries(mtime int64) ([]entry, error) {
	if b.section == volumes {
		return nil, nil // see volumeDirs
	}
	config, err := json.MarshalIndent(b.oci, "", "    ")
	if err != nil {
		return nil, fmt.Errorf("%s %s: write config.json: %w", b.section, b.Name, err)
	}
	rt := b.runtime
	mounts := b.mounts()
	if rt.Mounts != nil {
		mounts = append(mounts, *rt.Mounts...)
	}
	rt.Mounts = &mounts
	runtime, err := json.MarshalIndent(rt, "", "    ")
	if err != nil {
		return nil, fmt.Errorf("%s %s: write runtime.json: %w", b.section, b.Name, err)
	}
	out := dirEntries(append(parents(b.dir), b.dir), mtime)
	out = append(out, fileEntry(path.Join(b.dir, "config.json"), config, mtime), fileEntry(path.Join(b.dir, "runtime.json"), runtime, mtime))
	if !b.readonly {
		out = append(out, dirEntries([]string{path.Join(b.dir, "tmp"), path.Join(b.dir, "rootfs")}, mtime)...)
	} else if !b.owner {
		out = append(out, dirEntries([]string{path.Join(b.dir, "rootfs")}, mtime)...)
	}
	return out, nil
}

func fileEntry(name string, data []byte, mtime int64) entry {
	return entry{name, &inode{mode: typeReg | 0o644, data: data, size: int64(len(data)), mtime: mtime}}
}

// merge joins lists, the first of each directory and the last of everything else, in the order of first mention.
func merge(lists ...[]entry) []entry {
	at := map[string]int{}
	var out []entry
	for _, list := range lists {
		for _, e := range list {
			if i, ok := at[e.name]; ok {
				if !e.ino.made {
					out[i].ino = e.ino
				}
				continue
			}
			at[e.name] = len(out)
			out = append(out, e)
		}
	}
	return out
}
