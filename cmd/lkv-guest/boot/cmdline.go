package boot

import "strings"

// Cmdline are the kernel's parameters; one without a value maps to "". Of a repeated one the last counts.
type Cmdline map[string]string

// ParseCmdline splits as the kernel does: at blanks outside of double quotes, which are dropped when they enclose a
// parameter or a value.
func ParseCmdline(text string) Cmdline {
	out := Cmdline{}
	var b strings.Builder
	quoted := false
	flush := func() {
		if s := b.String(); s != "" {
			key, value, _ := strings.Cut(s, "=")
			out[key] = value
		}
		b.Reset()
	}
	for _, r := range text {
		switch {
		case r == '"':
			quoted = !quoted
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			flush()
		default:
			b.WriteRune(r)
		}
	}
	flush()
	return out
}

// Has tells whether the parameter is there at all.
func (c Cmdline) Has(key string) bool { _, ok := c[key]; return ok }
