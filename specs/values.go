package specs

import (
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// Size is an amount of memory or disk in bytes.
type Size int64

// Units of Size.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

var sizeUnits = []struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}}

// ParseSize reads a whole number with a unit: KiB, MiB, GiB, TiB (powers of 1024) or KB, MB, GB, TB (powers of 1000).
// A size without a unit is refused: 100 could be bytes, megabytes or gigabytes.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("%q is no size: write a whole number and a unit, for example \"100GiB\"", s)
		}
		if n > math.MaxInt64/int64(u.size) {
			return 0, fmt.Errorf("%q is larger than any disk", s)
		}
		return Size(n) * u.size, nil
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil && n > 0 {
		return 0, fmt.Errorf("%q has no unit: write \"%dGiB\" or \"%dMiB\"", s, n, n)
	}
	return 0, fmt.Errorf("%q is no size: write a whole number and a unit, for example \"100GiB\"", s)
}

// String returns the size in the largest binary unit that gives a whole number, for example "100GiB".
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && s%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(s/u.size), u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// Count is a number of VMs, or a share of a fleet.
type Count struct {
	N       int
	Percent int // 1 to 100; when not 0, N is 0
}

// ParseCount reads "2" or "25%".
func ParseCount(s string) (Count, error) {
	if p, ok := strings.CutSuffix(s, "%"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(p))
		if err != nil || n < 0 || n > 100 {
			return Count{}, fmt.Errorf("%q is no share: write a whole percentage from \"0%%\" to \"100%%\"", s)
		}
		return Count{Percent: n}, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 {
		return Count{}, fmt.Errorf("%q is no number of VMs: write a whole number or a percentage such as \"25%%\"", s)
	}
	return Count{N: n}, nil
}

// Of returns how many of total VMs the count means. A share is rounded down, but is at least 1 of a fleet that is not empty.
func (c Count) Of(total int) int {
	if c.Percent == 0 {
		return c.N
	}
	return min(total, max(1, total*c.Percent/100))
}

// String returns "2" or "25%".
func (c Count) String() string {
	if c.Percent != 0 {
		return fmt.Sprintf("%d%%", c.Percent)
	}
	return strconv.Itoa(c.N)
}

// ParseDuration reads Go's durations ("90s", "10m", "168h") and whole days ("90d"). Negative ones are refused.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration: write a number and a unit, for example \"30s\", \"10m\", \"12h\" or \"90d\"", s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return 0, bad
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, bad
	}
	return d, nil
}

// Secret is a value that is never printed. It prints as "(secret)" under every verb and in JSON.
// The zero value is "not set".
type Secret struct {
	value string
	file  string
}

// NewSecret returns a secret with that value; an empty value is "not set".
func NewSecret(value string) Secret { return Secret{value: value} }

// SecretFile returns a secret that is read from a file when it is needed.
func SecretFile(path string) Secret { return Secret{file: path} }

// IsSet tells whether there is a secret to reveal.
func (s Secret) IsSet() bool { return s != Secret{} }

// Reveal returns the secret itself. A file is read now, without its final line break.
func (s Secret) Reveal() (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return "", fmt.Errorf("read secret: %s is empty", s.file)
	}
	return v, nil
}

// String returns "(secret)", or "" when not set.
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return secretText
}

// Format writes String under every verb, so that no %#v or %+v shows the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const secretText = "(secret)"

// defaultLabel returns the label of a data disk that names none: the last element of its mount path.
func defaultLabel(mount string) string { return path.Base(mount) }
