package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A Docker Engine reads what older ones wrote, and not what newer ones did (R04). Versions are dotted numbers; what
// follows them ("-rc.1", "+dfsg1") does not count, and a version without any number is as unknown as none.

// numbers returns the numbers of a version, or nil when it is unknown.
func numbers(version string) []int {
	version = strings.TrimPrefix(version, "v")
	if i := strings.IndexFunc(version, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		version = version[:i]
	}
	var out []int
	for _, part := range strings.Split(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	for len(out) > 1 && out[len(out)-1] == 0 {
		out = out[:len(out)-1]
	}
	return out
}

// older tells whether version a is older than b; unknown ones are not.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return x != nil && y != nil && slices.Compare(x, y) < 0
}

// newest returns the newer of two versions, the known one when the other is not, and a when they are the same.
func newest(a, b string) string {
	if numbers(a) == nil {
		return cmp.Or(b, a)
	}
	if older(a, b) {
		return b
	}
	return a
}

// sameEngine tells whether two versions are surely the same: both known and equal, or both not said.
func sameEngine(a, b string) bool {
	return a == b || numbers(a) != nil && slices.Equal(numbers(a), numbers(b))
}
