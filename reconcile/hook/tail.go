package hook

import (
	"strings"
	"unicode"
)

// kept is how much of standard error is kept, in bytes.
const kept = 2 << 10

// tail keeps the end of what a command wrote, however much that was.
type tail struct{ b []byte }

// Write implements io.Writer. It never fails, so that the command is never stopped by what it says.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n >= kept {
		t.b, p = t.b[:0], p[n-kept:]
	}
	t.b = append(t.b, p...)
	if over := len(t.b) - kept; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return n, nil
}

func (t *tail) text() string {
	text := strings.ToValidUTF8(string(t.b), "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return printable(r)
	}, text))
}

// clean makes one line of a value.
func clean(s string) string { return strings.Map(printable, strings.ToValidUTF8(s, "")) }

// printable drops what could move a terminal's cursor or end a variable.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return -1
	}
	return r
}
