package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// dockerBlock is the persist block of the examples.
var dockerBlock = Context{Persist: []Persist{{Mount: "/var/lib/docker", Label: "docker"}}}

// dataRules are about data that ends in memory, and about who owns it on disk.
func dataRules() []Rule {
	const postgres = "services:\n  - name: postgres\n    image: postgres:17\n    binds:\n      - /var/lib/postgresql:/var/lib/postgresql/data\n"
	const named = "services:\n  - name: web\n    image: example/web:1\n    uid: %s\n    binds: [\"/var/lib/docker/web:/data\"]\n"
	return []Rule{{
		Code: "L13", Title: "data below /var/lib in memory", Severity: Warning,
		Why:   "/var is memory. No onboot step and no persist block mounts a disk here, so what the service writes is gone after the next boot.",
		Fix:   "Put the path on a data disk: a persist block in lkv.hcl.",
		Bad:   postgres,
		Good:  strings.Replace(postgres, "postgresql:/", "docker/postgres:/", 1),
		Given: `persist "/var/lib/docker" in lkv.hcl`,
		given: dockerBlock,
		check: inMemory,
	}, {
		Code: "L14", Title: "Docker without a disk", Severity: Warning,
		Why:   "Docker keeps images, containers, volumes and its membership in a swarm in /var/lib/docker. In memory all of it is gone after the next boot, and images fill the memory.",
		Fix:   `Write a persist block in the image block of lkv.hcl: persist "/var/lib/docker" { label = "docker" }.`,
		Bad:   "services:\n  - name: docker\n    image: lkv/docker:1\n",
		Good:  "onboot:\n  - name: disk\n    image: lkv/persist:1\n    command: [/usr/bin/lkv-guest, persist, --mount, /var/lib/docker, --label, docker]\n    annotations: {lkv.required: \"true\"}\nservices:\n  - name: docker\n    image: lkv/docker:1\n",
		check: dockers,
	}, {
		Code: "L19", Title: "an owner that depends on the order of entries", Severity: Warning,
		Why:   "A name in uid or gid becomes a number: containers are counted from 100 through onboot, onshutdown and services. An entry added in front shifts it, and the files on the disk then belong to somebody else.",
		Fix:   "Write the number it stands for now.",
		Bad:   fmt.Sprintf(named, "web"),
		Good:  fmt.Sprintf(named, "100"),
		Given: `persist "/var/lib/docker" in lkv.hcl`,
		given: dockerBlock,
		check: owners,
	}}
}

// volatile are directories below /var/lib whose content need not outlive a boot.
var volatile = []string{"cni", "dbus", "dhcp", "dhcpcd", "dhclient", "lkv", "ntp", "ntpd", "openntpd", "chrony", "systemd", "udhcpd"}

func inMemory(p *pass) {
	for _, e := range p.section("services") {
		for _, b := range e.binds() {
			first, _, _ := strings.Cut(strings.TrimPrefix(b.from, "/var/lib/"), "/")
			docker := b.to == dockerDir && isDocker(e)
			if !strings.HasPrefix(b.from, "/var/lib/") || docker || b.has("ro") || slices.Contains(volatile, first) || p.holds(b.from) {
				continue
			}
			p.say(e.d, b.n, fmt.Sprintf("service %q keeps %s in memory", e.name, b.from),
				fmt.Sprintf("Put the path on a data disk: persist %q { label = %q } in the image block of lkv.hcl.", b.from, labelOf(first)), nil)
		}
	}
}

// labelOf shortens a name to a label every file system keeps.
func labelOf(name string) string { return name[:min(len(name), longestLabel["xfs"])] }

const dockerDir = "/var/lib/docker"

// isDocker tells whether a container is a Docker Engine.
func isDocker(e *entry) bool {
	if e.image.is("lkv/docker", "linuxkit/docker") || e.image.is("library/docker", "moby/docker") && strings.Contains(e.image.text, "dind") {
		return true
	}
	return slices.ContainsFunc(e.words("command"), func(w string) bool { return path.Base(w) == "dockerd" })
}

func dockers(p *pass) {
	for _, e := range p.section("services") {
		if !isDocker(e) {
			continue
		}
		from, at := "", e.place()
		for _, b := range e.binds() {
			if below(dockerDir, b.to) {
				from, at = path.Join(b.from, strings.TrimPrefix(dockerDir, b.to)), b.n
			}
		}
		own := e.image.owner == "lkv" && e.fields["binds"] == nil // our image binds the path by itself
		switch {
		case from == "" && !own:
			p.say(e.d, at, fmt.Sprintf("%q does not bind %s: its data stays in the container, which is in memory", e.name, dockerDir),
				"Add "+dockerDir+":"+dockerDir+":rw,rslave to binds. "+persistBlock, nil)
		case from == "" && !p.holds(dockerDir) || from != "" && !p.holds(from):
			p.say(e.d, at, fmt.Sprintf("%q keeps its data in memory: nothing mounts a disk on %s", e.name, dockerDir), "", nil)
		}
	}
}

// owners finds names in uid and gid of containers that write to a data disk.
func owners(p *pass) {
	ids := map[string]int{}
	for i, e := range p.entries {
		ids[e.name] = 100 + i
	}
	for _, e := range p.entries {
		if !slices.ContainsFunc(e.binds(), func(b bind) bool { return p.onDisk(b.from) }) {
			continue
		}
		nodes := append([]*yaml.Node{e.fields["uid"], e.fields["gid"]}, e.list("additionalGids")...)
		for _, n := range nodes {
			id, known := ids[str(n)]
			if n == nil || n.ShortTag() != "!!str" || !known {
				continue
			}
			p.say(e.d, n, fmt.Sprintf("%q is %d in this image, and another number when entries before it change", str(n), id),
				fmt.Sprintf("Write %d, which is what it stands for now.", id), e.d.replace(n, fmt.Sprint(id)))
		}
	}
}

// onDisk tells whether a path is, lies on or contains a data disk.
func (p *pass) onDisk(name string) bool {
	return slices.ContainsFunc(p.disks, func(d disk) bool {
		return d.mount != "" && (below(name, d.mount) || below(d.mount, name))
	})
}
