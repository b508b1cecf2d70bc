package build

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const volumesYAML = `kernel:
  image: lkv/kernel:1
init: ["lkv/init:1"]
volumes:
- {name: data, image: "lkv/data:1"}
- {name: fixed, image: "lkv/data:1", readonly: true, format: filesystem, platforms: [linux/amd64]}
- {name: scratch}
services:
- name: app
  image: ghcr.io/x/app:1
  binds: ["data:/data", "/etc/x:/etc/x", "fixed:/fixed:ro", "scratch:/scratch:rw"]
  mounts: [{type: bind, source: fixed, destination: /m, options: [ro]}, {type: tmpfs, source: tmpfs, destination: /t}]
- {name: other, image: "ghcr.io/x/app:1", binds.add: ["scratch:/added"]}
`

// TestVolumes: the directories newer LinuxKit's init looks for, and binds that lead there.
func TestVolumes(t *testing.T) {
	s := aShelf(t)
	s["lkv/data:1"] = imageOf(t, nil, []file{{name: "x", body: "from the image"}, {name: "d/"}})
	in := smallInput(t, s)
	in.YAML[0].Data = []byte(volumesYAML)
	r := mustBuild(t, in)
	list := readNewc(t, inflate(t, initrdOf(t, r.ISO)))
	parentsFirst(t, list)
	var dirs []string
	for _, m := range list {
		if p, ok := strings.CutPrefix(m.name, "containers/volumes/"); ok && strings.Count(p, "/") < 2 && m.mode&typeMask == typeDir && !slices.Contains(dirs, p) {
			dirs = append(dirs, p)
		}
	}
	slices.Sort(dirs)
	want := []string{"data", "data/lower", "data/merged", "data/tmp", "fixed", "fixed/lower", "fixed/merged", "scratch", "scratch/lower", "scratch/merged", "scratch/tmp"}
	if d := cmp.Diff(want, dirs); d != "" {
		t.Error(d)
	}
	files := bodies(list)
	for _, n := range []string{"data", "fixed"} {
		if got := files["containers/volumes/"+n+"/lower/x"]; got != "from the image" {
			t.Errorf("%s: %q", n, got)
		}
	}
	var binds []string
	for _, n := range []string{"app", "other"} {
		var spec specs.Spec
		if err := json.Unmarshal([]byte(files["containers/services/"+n+"/config.json"]), &spec); err != nil {
			t.Fatal(err)
		}
		for _, m := range spec.Mounts {
			if m.Type == "bind" || strings.HasPrefix(m.Source, "/containers") {
				binds = append(binds, m.Source+" "+m.Destination)
			}
		}
	}
	slices.Sort(binds)
	for _, b := range []string{"/containers/volumes/data/merged /data", "/containers/volumes/fixed/merged /fixed", "/containers/volumes/fixed/merged /m",
		"/containers/volumes/scratch/merged /scratch", "/containers/volumes/scratch/merged /added", "/etc/x /etc/x"} {
		if !slices.Contains(binds, b) {
			t.Errorf("no bind %s among %q", b, binds)
		}
	}
}

func TestVolumesOfSeveralFiles(t *testing.T) {
	in := smallInput(t, aShelf(t))
	in.YAML = append(in.YAML, Source{"b.yml", []byte("volumes: [{name: v, image: \"lkv/data:1\"}]\n")},
		Source{"c.yml", []byte("services: [{name: other, image: \"ghcr.io/x/app:1\", binds: [\"v:/v\"]}]\n")})
	refs, err := References(in)
	if err != nil || !slices.Contains(refs, "lkv/data:1") {
		t.Errorf("%q, %v", refs, err)
	}
	in.YAML = append(in.YAML, Source{"d.yml", []byte("volumes: [{name: v}]\n")})
	if _, err := References(in); err == nil || !strings.Contains(err.Error(), `volume "v" is there twice`) {
		t.Errorf("the same volume in two files: %v", err)
	}
}

func TestVolumesRefused(t *testing.T) {
	for yaml, want := range map[string]string{
		"volumes: [{image: a}]":                              `an entry of "volumes" has no name`,
		"volumes: [{name: a/b}]":                             `cannot be the name of a directory`,
		"volumes: [{name: a}, {name: a}]":                    `volume "a" is there twice, first in line`,
		"volumes: [{name: a, format: oci}]":                  `lkv makes volumes of format "filesystem" only`,
		"volumes: [{name: a, format: x}]":                    `format is "filesystem", not "x"`,
		"volumes: [{name: a, platforms: [linux/arm64]}]":     "linux/amd64",
		"volumes: [{name: a, image: \"A:B:C\"}]":             "could not parse reference",
		"volumes: [{name: a, size: 1}]":                      `unknown key "size" in "volumes"`,
		"<<: {volumes: [{name: a}]}":                         `"volumes" cannot come from a merge`,
		"volumes: {}":                                        `"volumes" must be a list`,
		"services: [{name: s, image: i, binds: [\"v:/v\"]}]": `"v" is neither a path nor one of the volumes`,
		"services: [{name: s, image: i, mounts: [{type: bind, source: v, destination: /v}]}]":         `"v" is neither a path nor one of the volumes`,
		"volumes: [{name: v, readonly: true}]\nservices: [{name: s, image: i, binds: [\"v:/v\"]}]":    `volume "v" is read-only: add the option "ro"`,
		"volumes: [{name: v, readonly: true}]\nservices: [{name: s, image: i, binds: [\"v:/v:rw\"]}]": `volume "v" is read-only`,
		"volumes: [{name: v}]\nonboot: [{name: s, image: i, binds.add: [\"w:/v\"]}]":                  `"w" is neither a path`,
	} {
		in := smallInput(t, aShelf(t))
		in.YAML = append(in.YAML, Source{"v.yml", []byte(yaml + "\n")})
		if _, err := References(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v, want %q", yaml, err, want)
		}
	}
}

// TestTakeVolumesLeavesTheRest: a file without volumes is not even written anew.
func TestTakeVolumesLeavesTheRest(t *testing.T) {
	in := []byte("# comment\nkernel: {image: x}\n")
	if v, rest, err := takeVolumes(in); err != nil || v != nil || string(rest) != string(in) {
		t.Errorf("%v, %q, %v", v, rest, err)
	}
	v, rest, err := takeVolumes([]byte("kernel: {image: x}\nvolumes: [{name: a}]\nfiles: []\n"))
	if err != nil || len(v) != 1 || strings.Contains(string(rest), "volumes") || !strings.Contains(string(rest), "files") {
		t.Errorf("%v, %q, %v", v, rest, err)
	}
}
