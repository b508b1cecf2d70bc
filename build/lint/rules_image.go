package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// imageRules are about images whose behaviour surprises.
func imageRules() []Rule {
	const sshd = "services:\n  - name: sshd\n    image: lkv/sshd:1\n"
	const onboot = "onboot:\n  - name: dhcp\n    image: lkv/dhcp:1\n"
	return []Rule{{
		Code: "L27", Title: "LinuxKit's open-vm-tools", Severity: Warning,
		Why:  "The image has no plugin that reports addresses, so vCenter never sees an IP, and shutting the guest down restarts it instead.",
		Fix:  "Write image: lkv/tools:1.",
		Bad:  "services:\n  - name: tools\n    image: linuxkit/open-vm-tools:1\n",
		Good: "services:\n  - name: tools\n    image: lkv/tools:1\n",
		check: func(p *pass) {
			for _, e := range p.entries {
				if e.image.is("linuxkit/open-vm-tools") {
					p.say(e.d, e.image.n, "linuxkit/open-vm-tools reports no IP address and turns shutdown into restart", "", nil)
				}
			}
		},
	}, {
		Code: "L28", Title: "a metadata provider that is not compiled in", Severity: Warning,
		Why:  "The vmware provider of linuxkit/metadata is compiled into none of its releases, so guestinfo is never read.",
		Fix:  "Use the cdrom provider, or read guestinfo with lkv/tools.",
		Bad:  "onboot:\n  - name: metadata\n    image: linuxkit/metadata:1\n    command: [\"/usr/bin/metadata\", \"vmware\"]\n",
		Good: "onboot:\n  - name: metadata\n    image: linuxkit/metadata:1\n    command: [\"/usr/bin/metadata\", \"cdrom\"]\n",
		check: func(p *pass) {
			for _, e := range p.entries {
				for _, n := range e.list("command") {
					if e.image.is("linuxkit/metadata") && str(n) == "vmware" {
						p.say(e.d, n, "linuxkit/metadata has no vmware provider", "", nil)
					}
				}
			}
		},
	}, {
		Code: "L29", Title: "a DHCP client that never ends, before the services", Severity: Error,
		Why:   "Onboot steps run one after the other, each until it ends. A client that stays to renew its lease never does, so no service ever starts.",
		Fix:   "Make it one-shot: " + oneShot + ", and run it as a service, too, if leases shall be renewed.",
		Bad:   onboot,
		Good:  onboot + "    command: " + oneShot + "\n",
		check: endlessDHCP,
	}, {
		Code: "L30", Title: "a root shell for everybody at the console", Severity: Warning,
		Why:  "INSECURE=true makes getty log in root without a password. Everybody who may open the VM's console is root.",
		Fix:  "Leave INSECURE out, and log in over lkv/sshd with a key.",
		Bad:  "services:\n  - name: getty\n    image: linuxkit/getty:1\n    env: [\"INSECURE=true\"]\n",
		Good: "services:\n  - name: getty\n    image: linuxkit/getty:1\n",
		check: func(p *pass) {
			for _, e := range p.entries {
				for _, n := range e.list("env") {
					if e.image.is("linuxkit/getty") && str(n) == "INSECURE=true" {
						p.say(e.d, n, fmt.Sprintf("%q gives a root shell without a password", e.name), "", nil)
					}
				}
			}
		},
	}, {
		Code: "L31", Title: "an SSH server without keys", Severity: Warning,
		Why:   "The server takes keys only, from /root/.ssh/authorized_keys, which is not in the image. Nobody can log in.",
		Fix:   "Write your key under files, with path: root/.ssh/authorized_keys and mode: \"0600\".",
		Bad:   sshd,
		Good:  sshd + "files:\n  - path: root/.ssh/authorized_keys\n    source: id.pub\n    mode: \"0600\"\n",
		check: keyless,
	}, {
		Code: "L34", Title: "an image that cannot boot", Severity: Error,
		Why:   "The init section provides PID 1, the program that runs containers and, with LinuxKit's init, the one that starts services. Without them the kernel panics or services never start.",
		Fix:   "Write lkv/init:1 and lkv/runc:1 under init.",
		Bad:   "init: [\"linuxkit/init:1\", \"linuxkit/runc:1\"]\nservices:\n  - name: web\n    image: nginx:1.29\n",
		Good:  "init: [\"lkv/init:1\", \"lkv/runc:1\"]\nservices:\n  - name: web\n    image: nginx:1.29\n",
		check: unbootable,
	}}
}

// oneShot is a DHCP client's command that ends when it has an address.
const oneShot = `["/sbin/dhcpcd", "--nobackground", "-f", "/dhcpcd.conf", "-1"]`

func endlessDHCP(p *pass) {
	for _, e := range p.section("onboot") {
		words := e.words("command")
		once := slices.ContainsFunc(words, func(w string) bool { return w == "-1" || w == "--oneshot" || w == "-T" || w == "--test" })
		if !e.image.is("lkv/dhcp", "linuxkit/dhcpcd") || once || len(words) > 0 && path.Base(words[0]) != "dhcpcd" {
			continue
		}
		var edit *Edit
		if e.fields["command"] == nil {
			edit = e.d.after(e.n, "image", "command", oneShot)
		}
		p.say(e.d, e.place(), fmt.Sprintf("%q never ends, so no service starts", e.name), "", edit)
	}
}

func keyless(p *pass) {
	keys := slices.ContainsFunc(p.files, func(f file) bool { return path.Base(f.path) == "authorized_keys" })
	other := slices.ContainsFunc(p.section("onboot"), func(e *entry) bool { return e.image.is("linuxkit/metadata") })
	for _, e := range p.section("services") {
		bound := slices.ContainsFunc(e.binds(), func(b bind) bool {
			return path.Base(b.to) == "authorized_keys" || b.to == "/root/.ssh" && b.from != b.to
		})
		if e.image.is("lkv/sshd", "linuxkit/sshd") && !keys && !other && !bound {
			p.say(e.d, e.place(), fmt.Sprintf("%q has no authorized_keys, so nobody can log in", e.name), "", nil)
		}
	}
}

// unbootable judges only init sections of images it knows.
func unbootable(p *pass) {
	names, known := p.boots()
	if len(p.docs) == 0 || len(p.kernel) == 0 && len(names) == 0 || !known {
		return
	}
	d := p.docs[len(p.docs)-1]
	n := d.root
	if len(p.init) > 0 {
		d, n = p.init[0].d, p.init[0].n
	}
	has := func(what string) bool {
		return slices.ContainsFunc(names, func(s string) bool { return strings.HasSuffix(s, "/"+what) })
	}
	switch {
	case !has("init"):
		p.say(d, n, "there is no init image", "", nil)
	case !has("runc") && len(p.entries)+len(p.Persist) > 0:
		p.say(d, n, "there is no runc, which runs onboot steps and services", "", nil)
	case slices.Contains(names, "linuxkit/init") && !slices.Contains(names, "lkv/init") && !has("containerd") && len(p.section("services")) > 0:
		p.say(d, n, "linuxkit/init starts services through containerd, which is not there", "", nil)
	}
}
