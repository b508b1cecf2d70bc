package build

import (
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
)

// disks lists the data disks the onboot entries mount, ours and those the user's YAML mounts with LinuxKit's
// format and mount images or with lkv/persist itself. commands holds the command line of each onboot entry as
// it ends up in its config.json.
func (c config) disks(commands [][]string, required []bool, blocks []Persist) []manifest.Persist {
	var out []manifest.Persist
	var formats []flags
	gates := map[string]bool{}
	for i, e := range c.Onboot {
		if len(commands[i]) == 0 {
			continue
		}
		cmd := commands[i][1:]
		switch component(e.Image) {
		case "format":
			formats = append(formats, parseFlags(cmd, "force", "verbose"))
		case "mount":
			out = append(out, mounted(parseFlags(cmd)))
		case "persist":
			f := parseFlags(cmd[min(1, len(cmd)):])
			if len(cmd) > 0 && cmd[0] == "gate" {
				gates[f.value["mount"]] = required[i]
			} else if f.value["mount"] != "" {
				out = append(out, manifest.Persist{Mount: f.value["mount"], Label: f.value["label"], UUID: f.value["disk-uuid"],
					Filesystem: or(f.value["filesystem"], "ext4"), Via: "lkv", Gated: required[i]})
			}
		}
	}
	// The forced disk is named by its place, so it may be any of them, whoever mounts it afterwards.
	forced := slices.ContainsFunc(formats, func(f flags) bool { return f.on["force"] })
	for i := range out {
		p := &out[i]
		p.Force = forced
		if p.Via != "lkv" {
			formatted(p, formats)
			p.Gated = gates[p.Mount]
			p.Via = via(*p, blocks)
		}
	}
	return out
}

// mounted reads the command line of LinuxKit's mount: flags, then [device] mountpoint.
func mounted(f flags) manifest.Persist {
	p := manifest.Persist{Label: f.value["label"], Filesystem: "ext4", Via: "yaml"}
	if len(f.rest) > 0 {
		p.Mount = f.rest[len(f.rest)-1]
	}
	return p
}

// formatted adds what the format entries say about a disk. LinuxKit's format takes any blank disk, so an entry
// without a label may prepare every mount.
func formatted(p *manifest.Persist, formats []flags) {
	for _, f := range formats {
		if f.value["label"] == p.Label || f.value["label"] == "" {
			p.Filesystem = or(f.value["type"], p.Filesystem)
		}
	}
}

func via(p manifest.Persist, blocks []Persist) string {
	for _, b := range blocks {
		if b.Via == "linuxkit" && b.Mount == p.Mount && b.Label == p.Label {
			return "linuxkit"
		}
	}
	return "yaml"
}

// component is the last part of an image's repository, when it is LinuxKit's or ours.
func component(ref string) string {
	r, err := name.ParseReference(ref)
	if err != nil {
		return ""
	}
	parts := strings.Split(r.Context().RepositoryStr(), "/")
	if len(parts) < 2 {
		return ""
	}
	owner, what := parts[len(parts)-2], parts[len(parts)-1]
	if owner == "linuxkit" && (what == "format" || what == "mount") || owner == "lkv" && what == "persist" {
		return what
	}
	return ""
}

// flags is a command line in the manner of Go's flag package.
type flags struct {
	value map[string]string
	on    map[string]bool
	rest  []string
}

// parseFlags reads flags as Go's flag package does: one or two dashes, value attached or following, ending at
// the first argument that is no flag. bools take no value.
func parseFlags(args []string, bools ...string) flags {
	f := flags{value: map[string]string{}, on: map[string]bool{}}
	isBool := map[string]bool{}
	for _, b := range bools {
		isBool[b] = true
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' || a == "--" {
			f.rest = args[i:]
			if a == "--" {
				f.rest = args[i+1:]
			}
			return f
		}
		k, v, attached := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch {
		case isBool[k]:
			f.on[k] = !attached || v == "true" || v == "1" || v == "t" || v == "T" || v == "TRUE" || v == "True"
		case attached:
			f.value[k] = v
		case i+1 < len(args):
			i++
			f.value[k] = args[i]
		}
	}
	return f
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// isRequired says whether annotations stop the boot when the entry fails.
func isRequired(annotations map[string]string) bool { return annotations[report.Required] == "true" }
