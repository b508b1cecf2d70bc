// Package mountinfo reads /proc/<pid>/mountinfo.
package mountinfo

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Mount is one line. Paths and sources are unescaped.
type Mount struct {
	ID, Parent   int
	Major, Minor uint32 // of the file system's device; major 0 is no block device
	Root         string // the part of the file system that is mounted
	Point        string // where, in the reader's root
	Options      string // per mount
	Type         string
	Source       string
}

// Read parses the file.
func Read(file string) ([]Mount, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return Parse(string(data))
}

// Parse reads lines in the order the kernel gives them: of two mounts on one point, the later covers the earlier.
func Parse(text string) ([]Mount, error) {
	var out []Mount
	for n, line := range strings.Split(text, "\n") {
		if line == "" {
			continue
		}
		m, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("read mounts: line %d: %w", n+1, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// parseLine reads "ID parent major:minor root point options [optional…] - type source superoptions".
func parseLine(line string) (Mount, error) {
	left, right, ok := strings.Cut(line, " - ")
	f, r := strings.Split(left, " "), strings.Split(right, " ")
	if !ok || len(f) < 6 || len(r) < 2 {
		return Mount{}, fmt.Errorf("too few fields")
	}
	major, minor, ok := strings.Cut(f[2], ":")
	if !ok {
		return Mount{}, fmt.Errorf("device %q is not major:minor", f[2])
	}
	var nums [4]uint64
	for i, s := range []string{f[0], f[1], major, minor} {
		v, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return Mount{}, fmt.Errorf("number %q: %w", s, err)
		}
		nums[i] = v
	}
	return Mount{
		ID: int(nums[0]), Parent: int(nums[1]), Major: uint32(nums[2]), Minor: uint32(nums[3]),
		Root: unescape(f[3]), Point: unescape(f[4]), Options: f[5], Type: unescape(r[0]), Source: unescape(r[1]),
	}, nil
}

// At returns the topmost mount on exactly that point.
func At(list []Mount, point string) (Mount, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Point == point {
			return list[i], true
		}
	}
	return Mount{}, false
}

// unescape undoes the kernel's three-digit octal escapes of blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
