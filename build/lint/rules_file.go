package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// fileRules are about "files", and about secrets anywhere.
func fileRules() []Rule {
	return []Rule{{
		Code: "L15", Title: "a file that is hidden at run time", Severity: Warning,
		Why:   "At boot an empty tmpfs covers /run and /tmp, with LinuxKit's init also /var, and a data disk covers its mount point. The file is in the image and nobody ever sees it.",
		Fix:   "Put the file elsewhere, for example below /etc, and bind it where it is needed.",
		Bad:   "init: [\"linuxkit/init:1\"]\nfiles:\n  - path: var/lib/app/config\n    contents: x\n",
		Good:  "init: [\"linuxkit/init:1\"]\nfiles:\n  - path: etc/app/config\n    contents: x\n",
		check: hidden,
	}, {
		Code: "L16", Title: "a secret in the image", Severity: Warning,
		Why:   "The image lies on a datastore, in caches and in backups, and everybody who can read one of them can read the secret. It cannot be changed without a new image.",
		Fix:   "Give the secret to the VM when it runs, for example through guestinfo, and read it there.",
		Bad:   "files:\n  - path: etc/app.conf\n    contents: \"password = hunter2\"\n",
		Good:  "files:\n  - path: etc/app.conf\n    contents: \"password = ${PASSWORD}\"\n",
		check: secrets,
	}}
}

func hidden(p *pass) {
	boots, known := p.boots()
	covered := []string{"/run", "/tmp", "/dev", "/proc", "/sys"}
	// lkv/init copies what the image has below /var into the tmpfs; of an init we do not know we assume nothing.
	if slices.Contains(boots, "linuxkit/init") || known && len(boots) > 0 && !slices.Contains(boots, "lkv/init") {
		covered = append(covered, "/var")
	}
	for _, f := range p.files {
		for _, dir := range covered {
			if f.path != dir && below(f.path, dir) {
				p.say(f.d, f.n, fmt.Sprintf("%s is hidden at run time by what is mounted on %s", f.path, dir), "", nil)
			}
		}
		for _, d := range p.disks {
			if d.mount != "" && d.mount != "/" && f.path != d.mount && below(f.path, d.mount) {
				p.say(f.d, f.n, fmt.Sprintf("%s is hidden at run time by the disk on %s", f.path, d.mount), "", nil)
				break
			}
		}
	}
}

var (
	privateKey = regexp.MustCompile(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----`)
	assignment = regexp.MustCompile(`(?im)(?:^|[^a-z])(?:password|passwd|secret|token|api[_-]?key|secret[_-]?key)["']?[ \t]*[=:][ \t]*["']?([^\s"',]{4,})`)
	secretName = regexp.MustCompile(`(?i)(password|passwd|secret|token|api_?key|secret_?key)$`)
)

// harmless are beginnings of values that name a secret's place instead of the secret, or say that there is none.
var harmless = regexp.MustCompile(`(?i)^([$<{/*%]|file:|no$|yes$|none$|true$|false$|null$|change)`)

// looksSecret says what kind of secret a text holds, "" for none. It never returns the secret.
func looksSecret(text string) string {
	if privateKey.MatchString(text) {
		return "a private key"
	}
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
		if !harmless.MatchString(m[1]) {
			return "a password or token"
		}
	}
	return ""
}

func secrets(p *pass) {
	for _, f := range p.files {
		if c := f.fields["contents"]; c != nil {
			if kind := looksSecret(str(c)); kind != "" {
				f.d.conceal(c)
				p.say(f.d, f.n, fmt.Sprintf("%s seems to hold %s", f.path, kind), "", nil)
			}
		}
	}
	for _, e := range p.entries {
		for _, n := range e.list("env") {
			name, value, _ := strings.Cut(str(n), "=")
			if secretName.MatchString(name) && len(value) >= 4 && !harmless.MatchString(value) {
				e.d.conceal(n)
				p.say(e.d, n, fmt.Sprintf("%q is given the secret %s in its environment", e.name, name), "", nil)
			}
		}
	}
}

// conceal keeps the lines of a scalar out of findings.
func (d *doc) conceal(n *yaml.Node) {
	for l := n.Line; l <= d.end(n); l++ {
		d.secret[l] = true
	}
}
