package lint

import (
	"fmt"
	"regexp"
	"strings"
)

// persistBlock is what to write instead of LinuxKit's format and mount.
const persistBlock = `Better, write a persist block in the image block of lkv.hcl: persist "/var/lib/docker" { label = "docker" }.`

// tested are image references for the examples.
var tested = Context{Format: "linuxkit/format:1", Mount: "linuxkit/mount:1"}

// diskRules are about LinuxKit's format.
func diskRules() []Rule {
	return []Rule{{
		Code: "L01", Title: "format without a label", Severity: Warning,
		Why:   "The disk can then be found again only by its place, and the order of disks on vSphere is not the same at every boot. Any blank disk will do for it, also one meant for something else.",
		Fix:   "Add -label NAME here and mount the disk with the same -label. " + persistBlock,
		Bad:   "onboot:\n  - name: format\n    image: linuxkit/format:1\n",
		Good:  "onboot:\n  - name: format\n    image: linuxkit/format:1\n    command: [\"/usr/bin/format\", \"-label\", \"docker\"]\n",
		given: tested,
		check: func(p *pass) {
			for _, e := range p.formats() {
				if parseCommand(e).value("label") == "" {
					p.say(e.d, e.place(), fmt.Sprintf("%q formats a disk without giving it a label", e.name), "", nil)
				}
			}
		},
	}, {
		Code: "L02", Title: "format -force", Severity: Error,
		Why:   "With a device named, -force deletes the partitions and formats at every boot, whatever is on the disk. Without one it does nothing. Blank disks are formatted without it.",
		Fix:   "Leave -force out.",
		Bad:   "onboot:\n  - name: format\n    image: linuxkit/format:1\n    command: [\"/usr/bin/format\", \"-force\", \"-label\", \"docker\", \"/dev/sda\"]\n",
		Good:  "onboot:\n  - name: format\n    image: linuxkit/format:1\n    command: [\"/usr/bin/format\", \"-label\", \"docker\"]\n",
		given: tested,
		check: forced,
	}, {
		Code: "L03", Title: "a disk named by its place", Severity: Warning,
		Why:   "/dev/sda is whichever disk answers first. With more than one disk another one has that name some day, and is then formatted or mounted instead.",
		Fix:   "Name no device: give format and mount the same -label.",
		Bad:   "onboot:\n  - name: mount\n    image: linuxkit/mount:1\n    command: [\"/usr/bin/mountie\", \"/dev/sda1\", \"/var/lib/docker\"]\n",
		Good:  "onboot:\n  - name: mount\n    image: linuxkit/mount:1\n    command: [\"/usr/bin/mountie\", \"-label\", \"docker\", \"/var/lib/docker\"]\n",
		given: tested,
		check: byPlace,
	}, {
		Code: "L06", Title: "a label longer than the file system keeps", Severity: Error,
		Why:   "ext4 keeps 16 bytes of a label and cuts off the rest; xfs keeps 12 and refuses to be made. The mount then never finds the disk, and the data stays in memory.",
		Fix:   "Use a shorter label.",
		Bad:   "onboot:\n  - name: format\n    image: linuxkit/format:1\n    command: [\"/usr/bin/format\", \"-type\", \"xfs\", \"-label\", \"docker-volumes\"]\n",
		Good:  "onboot:\n  - name: format\n    image: linuxkit/format:1\n    command: [\"/usr/bin/format\", \"-type\", \"xfs\", \"-label\", \"docker\"]\n",
		given: tested,
		check: longLabels,
	}, {
		Code: "L07", Title: "a storage step outside onboot", Severity: Warning,
		Why:   "Only onboot steps run one after the other before the services. A service that formats or mounts races with those that need the disk, and what runs at shutdown comes too late.",
		Fix:   "Move the entry to onboot.",
		Bad:   "services:\n  - name: format\n    image: linuxkit/format:1\n",
		Good:  "onboot:\n  - name: format\n    image: linuxkit/format:1\n",
		given: tested,
		check: func(p *pass) {
			for _, e := range p.entries {
				if e.section != "onboot" && e.image.is("linuxkit/format", "linuxkit/mount", "lkv/persist") {
					p.say(e.d, e.place(), fmt.Sprintf("%q in %s is a step that prepares a disk", e.name, e.section), "", nil)
				}
			}
		},
	}, {
		Code: "L08", Title: "a storage image that was not tested", Severity: Warning,
		Why:   "What format and mount take for a blank disk, and which partition tables they understand, differs from version to version.",
		Fix:   "Use the version that is tested with lkv.",
		Bad:   "onboot:\n  - name: format\n    image: linuxkit/format:v0.3\n",
		Good:  "onboot:\n  - name: format\n    image: linuxkit/format:1\n",
		Given: "the tested version is linuxkit/format:1",
		given: tested,
		check: untested,
	}}
}

func forced(p *pass) {
	for _, e := range p.entries {
		if !e.image.is("linuxkit/format") {
			continue
		}
		if f, ok := parseCommand(e).flag("force"); ok && f.value != "false" && f.value != "0" {
			p.say(e.d, f.n, fmt.Sprintf("%q wipes its disk at every boot", e.name), "", e.d.drop(follow(e.fields["command"]), f.index))
		}
	}
}

func byPlace(p *pass) {
	for _, e := range p.section("onboot") {
		c := parseCommand(e)
		switch {
		case e.image.is("linuxkit/format") && len(c.rest) > 0:
			p.say(e.d, c.rest[0], fmt.Sprintf("%q formats %s, whichever disk that is", e.name, str(c.rest[0])), "", nil)
		case e.image.is("linuxkit/mount") && len(c.rest) > 1:
			p.say(e.d, c.rest[0], fmt.Sprintf("%q mounts %s, whichever disk that is", e.name, str(c.rest[0])), "", nil)
		case e.image.is("linuxkit/mount") && unstable.MatchString(c.value("device")):
			f, _ := c.flag("device")
			p.say(e.d, f.n, fmt.Sprintf("%q mounts %s, whichever disk that is", e.name, f.value), "", nil)
		}
	}
}

// unstable matches names the kernel gives in the order in which devices answer.
var unstable = regexp.MustCompile(`^/dev/(sd|vd|xvd|hd|nvme|mmcblk)[a-z0-9]+$`)

// longestLabel is how many bytes of a label a file system keeps.
var longestLabel = map[string]int{"": 16, "ext4": 16, "ext3": 16, "ext2": 16, "xfs": 12, "btrfs": 255}

func longLabels(p *pass) {
	for _, e := range p.formats() {
		c := parseCommand(e)
		limit, known := longestLabel[c.value("type")]
		if f, _ := c.flag("label"); known && len(f.value) > limit {
			fs := c.value("type")
			if fs == "" {
				fs = "ext4"
			}
			p.say(e.d, f.n, fmt.Sprintf("label %q has %d bytes, %s keeps %d", f.value, len(f.value), fs, limit), "", nil)
		}
	}
}

func untested(p *pass) {
	for _, e := range p.entries {
		for _, want := range []string{p.Format, p.Mount} {
			r := refer(at{n: scalar(want)})
			if want == "" || e.image.owner != "linuxkit" || e.image.what != r.what || e.image.tag == r.tag {
				continue
			}
			if tag, _, _ := strings.Cut(e.image.text, "@"); tag != e.image.text && refer(at{n: scalar(tag)}).tag == r.tag {
				continue // the same tag, with a digest
			}
			p.say(e.d, e.image.n, fmt.Sprintf("%s is not the version that is tested with lkv", e.image.text), "Write image: "+want+". "+persistBlock, nil)
		}
	}
}
