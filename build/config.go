package build

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
)

// config is the LinuxKit configuration of one image: the user's files with the persist entries in front.
type config struct {
	moby.Moby
	ids     map[string]uint32 // numeric id of each container's name
	persist int               // how many onboot entries at the front are ours
	sources []source          // of each of Files
	volumes []volume
}

// load reads all YAML files and joins them. References stay as written: moby's own expansion knows Docker Hub only.
func load(in Input) (config, error) {
	var bad Problems
	for _, s := range in.YAML {
		bad = append(bad, Check(s.Name, s.Data)...)
	}
	if len(bad) > 0 {
		return config{}, bad
	}
	var all moby.Moby
	var sources []source
	var vols []volume
	for _, s := range in.YAML {
		v, rest, err := takeVolumes(s.Data)
		if err != nil {
			return config{}, Problems{{File: s.Name, Text: err.Error()}}
		}
		vols = append(vols, v...)
		m, err := moby.NewConfig(rest, nil)
		if err != nil {
			return config{}, Problems{{File: s.Name, Text: err.Error()}}
		}
		line := fileLines(s.Data)
		for i, f := range m.Files {
			src, err := locate(f.Source, s.Name, in.Home)
			if err != nil {
				return config{}, Problems{{File: s.Name, Text: fmt.Sprintf("file %s: %v", f.Path, err)}}
			}
			sources = append(sources, source{path: src, file: s.Name, line: line(i)})
		}
		if all, err = moby.AppendConfig(all, m); err != nil {
			return config{}, Problems{{File: s.Name, Text: err.Error()}}
		}
	}
	if all.Kernel.Image == "" {
		return config{}, Problems{{File: in.YAML[0].Name, Text: "no kernel: an ISO needs kernel.image"}}
	}
	if err := bindVolumes(all, vols); err != nil {
		return config{}, Problems{{File: in.YAML[0].Name, Text: err.Error()}}
	}
	return expand(config{Moby: all, ids: number100(all), sources: sources, volumes: vols}, in.Persist)
}

// number100 gives the containers ids from 100 in LinuxKit's order. The entries Build adds come later, so that
// adding a persist block does not change who owns the files on existing disks.
func number100(m moby.Moby) map[string]uint32 {
	ids := map[string]uint32{}
	id := uint32(100)
	for _, section := range [][]*moby.Image{m.Onboot, m.Onshutdown, m.Services} {
		for _, c := range section {
			ids[c.Name] = id
			id++
		}
	}
	return ids
}

// locate finds a "source:": beside the YAML file that names it, or in the home directory.
func locate(src, yaml, home string) (string, error) {
	switch {
	case src == "" || filepath.IsAbs(src):
		return src, nil
	case !strings.HasPrefix(src, "~/"):
		return filepath.Join(filepath.Dir(yaml), src), nil
	case home == "":
		return "", fmt.Errorf("source %s: the home directory is not known", src)
	}
	return filepath.Join(home, src[2:]), nil
}

// container is one onboot, onshutdown or service entry.
type container struct {
	*moby.Image
	section string // directory: "onboot", "onshutdown" or "services"
	dir     string // containers/<section>/<dir>
}

// containers lists all containers in boot order, with the directory LinuxKit gives each.
func (c config) containers() []container {
	var out []container
	for i, e := range c.Onboot {
		out = append(out, container{e, "onboot", fmt.Sprintf("containers/onboot/%03d-%s", i, e.Name)})
	}
	for i, e := range c.Onshutdown {
		out = append(out, container{e, "onshutdown", fmt.Sprintf("containers/onshutdown/%03d-%s", i, e.Name)})
	}
	for _, e := range c.Services {
		out = append(out, container{e, "services", "containers/services/" + e.Name})
	}
	return out
}

// References lists every image reference a build of in needs, as written and without repetition: what lkv lock
// pins. It checks the YAML on the way and resolves nothing.
func References(in Input) ([]string, error) {
	in, err := in.check()
	if err != nil {
		return nil, err
	}
	c, err := load(in)
	if err != nil {
		return nil, err
	}
	return c.references(in.BootImage), nil
}

func (c config) references(boot string) []string {
	list := append([]string{c.Kernel.Image}, c.Init...)
	for _, e := range c.containers() {
		list = append(list, e.Image.Image)
	}
	for _, v := range c.volumes {
		if v.Image != "" {
			list = append(list, v.Image)
		}
	}
	seen := map[string]bool{}
	var out []string
	for _, r := range append(list, boot) {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}
