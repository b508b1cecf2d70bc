package build

import (
	"fmt"
	"path"
	"strings"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"github.com/lkv-io/lkv/internal/report"
	"gopkg.in/yaml.v3"
)

// guest is the program inside PersistImage.
const guest = "/usr/bin/lkv-guest"

// step is an onboot entry as YAML, so that moby reads it like the user's own.
type step struct {
	Name        string            `yaml:"name"`
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Binds       []string          `yaml:"binds.add,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// expand puts the onboot entries of the persist blocks before the user's.
func expand(c config, list []Persist) (config, error) {
	var steps []step
	for n, p := range list {
		steps = append(steps, p.steps(n)...)
	}
	if len(steps) == 0 {
		return c, nil
	}
	data, err := yaml.Marshal(map[string][]step{"onboot": steps})
	if err != nil {
		return config{}, fmt.Errorf("expand persist blocks: %w", err)
	}
	front, err := moby.NewConfig(data, nil)
	if err != nil {
		return config{}, fmt.Errorf("expand persist blocks: %w", err)
	}
	joined, err := moby.AppendConfig(front, c.Moby)
	if err != nil {
		return config{}, fmt.Errorf("expand persist blocks: %w", err)
	}
	c.Moby, c.persist = joined, len(steps)
	return c, nil
}

func (p Persist) steps(n int) []step {
	required := map[string]string{report.Required: "true"}
	name := func(what string) string { return fmt.Sprintf("persist-%s%d", what, n) }
	if p.Via == "linuxkit" {
		return []step{
			{Name: name("format-"), Image: FormatImage, Command: []string{"/usr/bin/format", "-label", p.Label, "-type", p.Filesystem}},
			{Name: name("mount-"), Image: MountImage, Command: []string{"/usr/bin/mountie", "-label", p.Label, p.Mount}},
			{Name: name("gate-"), Image: PersistImage, Annotations: required, Binds: p.binds(),
				Command: []string{guest, "gate", "--mount", p.Mount, "--label", p.Label}},
		}
	}
	args := []string{guest, "persist", "--mount", p.Mount, "--label", p.Label, "--filesystem", p.Filesystem}
	if len(p.Options) > 0 {
		args = append(args, "--options", strings.Join(p.Options, ","))
	}
	return []step{{Name: name(""), Image: PersistImage, Command: args, Binds: p.binds(), Annotations: required}}
}

// binds lets the persist container mount outside /var, which its image binds by itself.
func (p Persist) binds() []string {
	top := "/" + strings.Split(strings.TrimPrefix(p.Mount, "/"), "/")[0]
	if top == "/var" {
		return nil
	}
	return []string{top + ":" + top + ":rshared"}
}

// mountPoint is the directory the root file system must have for a mount outside /var, which is a tmpfs.
func mountPoint(mount string) (dir string, needed bool) {
	dir = strings.TrimPrefix(path.Clean(mount), "/")
	return dir, dir != "var" && !strings.HasPrefix(dir, "var/")
}
