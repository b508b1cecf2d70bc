package lint

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// ignoredRules are about keys that are accepted and do nothing.
func ignoredRules() []Rule {
	return []Rule{{
		Code: "L32", Title: "trust is ignored", Severity: Warning,
		Why:  "LinuxKit took content trust out and accepts the key for old files' sake. Nothing is verified.",
		Fix:  "Leave trust out, and pin digests: lkv lock.",
		Bad:  "trust:\n  org:\n    - linuxkit\n",
		Good: "kernel:\n  cmdline: console=tty0\n",
		check: func(p *pass) {
			for _, d := range p.docs {
				if k := key(d.root, "trust"); k != nil {
					p.say(d, k, "trust does nothing", "", d.dropKey(k))
				}
			}
		},
	}, {
		Code: "L33", Title: "a key that is read and thrown away", Severity: Warning,
		Why:   "LinuxKit's schema demands this spelling, and its reader knows only another one, so the setting has no effect.",
		Fix:   "Leave it out: there is no spelling that works.",
		Bad:   "services:\n  - name: web\n    image: nginx:1.29\n    resources:\n      memory: {disableOOMKiller: true}\n",
		Good:  "services:\n  - name: web\n    image: nginx:1.29\n    resources:\n      memory: {limit: 1000000}\n",
		check: lost,
	}}
}

// dropKey removes a key of a block document with all that belongs to it.
func (d *doc) dropKey(k *yaml.Node) *Edit {
	if d.root.Style&yaml.FlowStyle != 0 || k.Column != 1 {
		return nil
	}
	to := len(d.starts) + 1
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if l := d.root.Content[i].Line; l > k.Line {
			to = min(to, l)
		}
	}
	for to-1 > k.Line { // comments at the left margin belong to what follows
		if text := d.line(to - 1); strings.TrimSpace(text) != "" && text[0] != '#' {
			break
		}
		to--
	}
	end := len(d.data)
	if to <= len(d.starts) {
		end = d.starts[to-1]
	}
	return d.edit(d.starts[k.Line-1], end, "")
}

// lostKeys are the keys of a container that the moby package accepts and does not read, as it knows only the lower-case
// names of the Go fields behind them. A test asks moby.
var lostKeys = map[string][]string{
	"resources":         {"hugepageLimits"},
	"resources.memory":  {"kernelTCP", "disableOOMKiller"},
	"resources.cpu":     {"realtimeRuntime", "realtimePeriod"},
	"resources.network": {"classID"},
	"resources.blockio": {"leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"},
	"uidMappings":       {"hostID", "containerID"},
	"gidMappings":       {"hostID", "containerID"},
}

func lost(p *pass) {
	for _, e := range p.entries {
		for _, where := range []string{"resources", "resources.memory", "resources.cpu", "resources.network", "resources.blockio", "uidMappings", "gidMappings"} {
			nodes := []*yaml.Node{e.n}
			for _, step := range strings.Split(where, ".") {
				nodes = e.d.children(nodes, step)
			}
			for _, n := range nodes {
				for i := 0; i+1 < len(n.Content); i += 2 {
					if k := n.Content[i]; slices.Contains(lostKeys[where], k.Value) {
						p.say(e.d, k, fmt.Sprintf("%s.%s of %q has no effect", where, k.Value, e.name), "", nil)
					}
				}
			}
		}
	}
}

// children returns the mappings below a key: its value, or the elements of its list.
func (d *doc) children(nodes []*yaml.Node, name string) []*yaml.Node {
	var out []*yaml.Node
	for _, n := range nodes {
		v := d.fields(n)[name]
		for _, m := range append(d.items(v), v) {
			if m != nil && m.Kind == yaml.MappingNode {
				out = append(out, m)
			}
		}
	}
	return out
}
