package lint

import (
	"fmt"
	"slices"
	"strings"
)

// kernelRules are about the kernel's command line and the memory of VMs.
func kernelRules() []Rule {
	const getty = "kernel:\n  cmdline: \"%s\"\nservices:\n  - name: getty\n    image: linuxkit/getty:1\n"
	return []Rule{{
		Code: "L18", Title: "VMs with too little memory", Severity: Warning,
		Why:   "The initrd is unpacked into memory before anything runs. A machine with less stops with a message or, with LinuxKit's init, boots half a system. Workload comes on top.",
		Fix:   `Give the VMs more memory in the fleet's vm block, or build the image with rootfs = "squashfs".`,
		Bad:   "kernel:\n  cmdline: console=tty0\n",
		Given: "a fleet with 512 MiB per VM, of an image that needs 700 MiB; nothing is found for 2 GiB",
		given: Context{Need: 700 << 20, Rootfs: "initrd", Fleets: []Fleet{{Name: "web", Memory: 512 << 20, File: "lkv.hcl", Line: 1, Column: 1}}},
		check: tooSmall,
	}, {
		Code: "L23", Title: "root= on the kernel command line", Severity: Warning,
		Why:  "root= and rootfstype=ramfs take away the limit of the root file system in memory, and LinuxKit takes root= for a CD that carries the root. The image brings its own.",
		Fix:  "Leave it out.",
		Bad:  "kernel:\n  cmdline: \"console=tty0 root=/dev/sr0\"\n",
		Good: "kernel:\n  cmdline: \"console=tty0\"\n",
		check: func(p *pass) {
			for _, w := range p.words() {
				if strings.HasPrefix(w, "root=") || w == "rootfstype=ramfs" {
					p.say(p.cmdline.d, p.cmdline.n, fmt.Sprintf("%s does not fit an image that boots from memory", w), "", nil)
				}
			}
		},
	}, {
		Code: "L24", Title: "no console", Severity: Warning,
		Why:   "Without console= nobody sees what happens when a machine does not boot.",
		Fix:   "Add console=tty0, and console=ttyS0 before it where there is a serial port.",
		Bad:   "kernel:\n  image: lkv/kernel:1\n",
		Good:  "kernel:\n  image: lkv/kernel:1\n  cmdline: \"console=tty0\"\n",
		check: noConsole,
	}, {
		Code: "L25", Title: "a login on a serial port that is not there", Severity: Warning,
		Why:   "The fleet's VMs have no serial port. getty then fails on it, is started again, and prints a message every few seconds.",
		Fix:   "Leave console=ttyS0 out, or the getty service.",
		Bad:   fmt.Sprintf(getty, "console=tty0 console=ttyS0"),
		Good:  fmt.Sprintf(getty, "console=tty0"),
		Given: "a fleet uses the image",
		given: Context{Fleets: []Fleet{{Name: "web"}}},
		check: serialLogin,
	}, {
		Code: "L26", Title: "quotes the kernel does not understand", Severity: Warning,
		Why:  `The kernel knows only double quotes, in pairs. A single quote is part of the word, and an open double quote swallows the rest of the line.`,
		Fix:  `Write name="two words", with double quotes in pairs.`,
		Bad:  "kernel:\n  cmdline: \"console=tty0 dyndbg='module x +p'\"\n",
		Good: "kernel:\n  cmdline: 'console=tty0 dyndbg=\"module x +p\"'\n",
		check: func(p *pass) {
			c := str(p.cmdline.n)
			if strings.Count(c, `"`)%2 != 0 {
				p.say(p.cmdline.d, p.cmdline.n, "a double quote in cmdline is not closed", "", nil)
			}
			if strings.Contains(c, "'") {
				p.say(p.cmdline.d, p.cmdline.n, "cmdline has a single quote", "", nil)
			}
		},
	}}
}

// words returns the kernel's command line in pieces.
func (p *pass) words() []string { return strings.Fields(str(p.cmdline.n)) }

// tooSmall has no line of the YAML to blame.
func tooSmall(p *pass) {
	for _, f := range p.Fleets {
		if p.Need == 0 || f.Memory == 0 || f.Memory >= p.Need {
			continue
		}
		fix := fmt.Sprintf("Give the fleet's VMs more than %s in their vm block.", mebibytes(p.Need))
		if p.Rootfs == "initrd" {
			fix = p.rule.Fix
		}
		p.say(nil, nil, fmt.Sprintf("VMs of fleet %q have %s, the last build of this image needs %s to boot", f.Name, mebibytes(f.Memory), mebibytes(p.Need)), fix, nil)
		last := &p.found[len(p.found)-1]
		last.File, last.Line, last.Column = f.File, f.Line, f.Column
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

func noConsole(p *pass) {
	if len(p.kernel) == 0 || slices.ContainsFunc(p.words(), func(w string) bool { return strings.HasPrefix(w, "console=") }) {
		return
	}
	if p.cmdline.n != nil {
		p.say(p.cmdline.d, p.cmdline.n, "cmdline names no console", "", nil)
		return
	}
	k := p.kernel[len(p.kernel)-1]
	p.say(k.d, k.n, "the kernel has no cmdline, so no console", `Write cmdline: "console=tty0".`, nil)
}

func serialLogin(p *pass) {
	i := slices.IndexFunc(p.words(), func(w string) bool { return strings.HasPrefix(w, "console=ttyS") })
	getty := slices.ContainsFunc(p.section("services"), func(e *entry) bool { return e.image.is("linuxkit/getty") })
	if i >= 0 && getty && len(p.Fleets) > 0 {
		p.say(p.cmdline.d, p.cmdline.n, p.words()[i]+" starts a login on a serial port that is not there", "", nil)
	}
}
