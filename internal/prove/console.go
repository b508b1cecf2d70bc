package prove

import (
	"regexp"
	"strings"

	"github.com/lkv-io/lkv/internal/manifest"
)

// ending are the lines that decide a boot. Lines of init begin at the margin; what containers print does not.
var ending = regexp.MustCompile(`(?m)^lkv: services started[\r\n]|^lkv: (?:boot stopped|this VM has too little memory)[^\r\n]*[\r\n]|Kernel panic - [^\r\n]*[\r\n]`)

const (
	started = "lkv: services started"
	stopped = "lkv: boot stopped: "
)

// console is what one boot has printed (docs/guest.md, console lines).
type console string

var image = regexp.MustCompile(`(?m)^lkv: image \S+ (\S+)\r?$`)

// image is the ID of the image that booted, "" when init has not said it.
func (c console) image() string {
	if m := image.FindStringSubmatch(string(c)); m != nil {
		return m[1]
	}
	return ""
}

// started tells whether services were started.
func (c console) started() bool {
	return regexp.MustCompile(`(?m)^` + started).MatchString(string(c))
}

// last is the last line that was printed.
func (c console) last() string {
	text := strings.TrimSpace(string(c))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// mark is what a persist step says about the nonce; trouble is its own error.
type mark struct{ found, wrote, trouble string }

// markOf is the line that a mount's step ends its proof with.
func markOf(mount string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[^\r\n]+: lkv: prove ` + regexp.QuoteMeta(mount) +
		` (?:found=(-|[0-9a-f]{1,64}) wrote=([0-9a-f]{1,64})|error: ([^\r\n]*))[\r\n]`)
}

// mark returns what was said about a mount and whether anything was.
func (c console) mark(mount string) (mark, bool) {
	m := markOf(mount).FindStringSubmatch(string(c))
	if m == nil {
		return mark{}, false
	}
	return mark{m[1], m[2], m[3]}, true
}

// formatted is "true" or "false" as init said when the mount appeared, "" when it did not.
func (c console) formatted(mount string) string {
	m := regexp.MustCompile(`(?m)^lkv: mounted ` + regexp.QuoteMeta(mount) + ` \S+ serial=\S* formatted=(true|false)\r?$`).FindStringSubmatch(string(c))
	if m == nil {
		return ""
	}
	return m[1]
}

// blind says why nothing can be seen of a boot of the image; "" when it can.
func blind(m manifest.Manifest) string {
	for _, c := range m.Components {
		if c.Section == "init" && within(c.Ref, "linuxkit/init") {
			return "its init is " + c.Ref + ", which prints nothing of what onboot steps say: use lkv/init instead"
		}
	}
	for _, arg := range strings.Fields(m.Cmdline) {
		if v, ok := strings.CutPrefix(arg, "console="); ok && (v == "ttyS0" || strings.HasPrefix(v, "ttyS0,")) {
			return ""
		}
	}
	return "its kernel command line has no console=ttyS0: add that"
}

// within tells whether a reference is of a repository, on whatever registry.
func within(ref, repository string) bool {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref == repository || strings.HasSuffix(ref, "/"+repository)
}

// served tells whether the image has lkv's tools, through which a guest agent shows the report.
func served(m manifest.Manifest) bool {
	for _, c := range m.Components {
		if c.Section == "service" && within(c.Ref, "lkv/tools") {
			return true
		}
	}
	return false
}
