package lint

import (
	"fmt"
	"slices"
	"strings"
)

// mountRules are about LinuxKit's mount, and about how mounts and services fit together.
func mountRules() []Rule {
	const labelled = "onboot:\n  - name: format\n    image: linuxkit/format:1\n    command: [\"/usr/bin/format\", \"-label\", \"docker\"]\n"
	const mount = "  - name: mount\n    image: linuxkit/mount:1\n    command: [\"/usr/bin/mountie\", \"-label\", \"docker\", \"/var/lib/docker\"]\n"
	const required = "    annotations: {lkv.required: \"true\"}\n"
	return []Rule{{
		Code: "L04", Title: "mount without a selector", Severity: Warning,
		Why:   "Without -label, -uuid or -device LinuxKit's mount takes the last disk that has a Linux partition, although it calls it the first. A second disk changes which one that is.",
		Fix:   "Add -label NAME, the label that format gave. " + persistBlock,
		Bad:   "onboot:\n  - name: mount\n    image: linuxkit/mount:1\n    command: [\"/usr/bin/mountie\", \"/var/lib/docker\"]\n",
		Good:  "onboot:\n" + mount,
		given: tested,
		check: func(p *pass) {
			for _, d := range p.mounts() {
				if !d.selector {
					p.say(d.e.d, d.e.place(), fmt.Sprintf("%q mounts whichever disk comes last", d.e.name), "", nil)
				}
			}
		},
	}, {
		Code: "L05", Title: "a mount by a label that nothing gives", Severity: Warning,
		Why:   "A disk gets its label when it is formatted. On a new VM nothing makes a disk with this one: the mount fails, LinuxKit goes on, and the data stays in memory.",
		Fix:   "Give format the same -label. " + persistBlock,
		Bad:   strings.Replace(labelled, "docker", "data", 1) + mount,
		Good:  labelled + mount,
		given: tested,
		check: strangeLabels,
	}, {
		Code: "L09", Title: "format after mount", Severity: Warning,
		Why:   "Onboot steps run in the order in which they are written. On a new VM the mount finds nothing, and only the second boot has a disk.",
		Fix:   "Move the format entry before the mount.",
		Bad:   "onboot:\n" + mount + strings.TrimPrefix(labelled, "onboot:\n"),
		Good:  labelled + mount,
		given: tested,
		check: lateFormats,
	}, {
		Code: "L10", Title: "services do not wait for the mount", Severity: Warning,
		Why:   "The exit code of an onboot step is ignored. When the disk is missing or broken, services start all the same, write to memory, and their data is gone after the next boot.",
		Fix:   `Add annotations: {lkv.required: "true"} to the entry, which lkv/init obeys. ` + persistBlock,
		Bad:   labelled + mount,
		Good:  labelled + mount + required,
		given: tested,
		check: func(p *pass) {
			for _, d := range p.disks {
				if !d.gated && d.e != nil {
					p.say(d.e.d, d.e.place(), fmt.Sprintf("services start even when %q could not mount %s", d.e.name, d.mount), "", nil)
				}
			}
		},
	}, {
		Code: "L11", Title: "LinuxKit's init does not wait for disks", Severity: Warning,
		Why:   "linuxkit/init ignores how onboot steps end, also those marked lkv.required. Services then start without their disk and lose what they write.",
		Fix:   "Write lkv/init:1 and lkv/runc:1 in place of linuxkit/init, linuxkit/runc and linuxkit/containerd.",
		Bad:   "init:\n  - linuxkit/init:1\n  - linuxkit/runc:1\n" + labelled + mount + required,
		Good:  "init:\n  - lkv/init:1\n  - lkv/runc:1\n" + labelled + mount + required,
		given: tested,
		check: func(p *pass) {
			for _, a := range p.init {
				gated := slices.ContainsFunc(p.disks, func(d disk) bool { return d.gated })
				if gated && refer(a).is("linuxkit/init") {
					p.say(a.d, a.n, "linuxkit/init starts services although a required disk is missing", "", nil)
				}
			}
		},
	}, {
		Code: "L12", Title: "a flag that format or mount does not know", Severity: Error,
		Why:   "The step then ends with a usage message and does nothing, which LinuxKit ignores: the data stays in memory. LinuxKit's mount knows no mount options.",
		Fix:   "format knows -force, -label, -type, -partition and -verbose; mount knows -device, -label and -uuid.",
		Bad:   "onboot:\n  - name: mount\n    image: linuxkit/mount:1\n    command: [\"/usr/bin/mountie\", \"-options\", \"noatime\", \"-label\", \"docker\", \"/var/lib/docker\"]\n",
		Good:  "onboot:\n" + mount,
		given: tested,
		check: strangeFlags,
	}}
}

func strangeLabels(p *pass) {
	given := map[string]bool{}
	for _, b := range p.Persist {
		given[b.Label] = true
	}
	for _, e := range p.entries {
		if e.image.is("linuxkit/format", "lkv/persist") {
			given[parseCommand(e).value("label")] = true
		}
	}
	for _, d := range p.mounts() {
		if d.label != "" && !given[d.label] {
			p.say(d.e.d, d.e.place(), fmt.Sprintf("%q looks for the label %q, which no format entry and no persist block gives", d.e.name, d.label), "", nil)
		}
	}
}

func lateFormats(p *pass) {
	for i, e := range p.section("onboot") {
		if !e.image.is("linuxkit/format") {
			continue
		}
		label := parseCommand(e).value("label")
		for _, d := range p.mounts() {
			if d.index < i && (label == "" || d.label == "" || label == d.label) {
				p.say(e.d, e.place(), fmt.Sprintf("%q comes after %q, which mounts the disk", e.name, d.e.name), "", nil)
				break
			}
		}
	}
}

var knownFlags = map[string][]string{
	"format": {"force", "label", "type", "partition", "verbose"},
	"mount":  {"device", "label", "uuid"},
}

func strangeFlags(p *pass) {
	for _, e := range p.entries {
		known := knownFlags[e.image.what]
		if e.image.owner != "linuxkit" || known == nil {
			continue
		}
		for _, f := range parseCommand(e).flags {
			if !slices.Contains(known, f.name) && f.name != "help" && f.name != "h" {
				p.say(e.d, f.n, fmt.Sprintf("LinuxKit's %s does not know -%s", e.image.what, f.name), "", nil)
			}
		}
	}
}
