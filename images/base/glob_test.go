package base

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"/usr/bin/runc", "/usr/bin/runc", true},
		{"/usr/bin/runc", "/usr/bin/runc2", false},
		{"/usr/bin/*", "/usr/bin/runc", true},
		{"/usr/bin/*", "/usr/bin/a/b", false},
		{"/usr/*/runc", "/usr/bin/runc", true},
		{"/usr/**", "/usr/bin/a/b", true},
		{"/usr/**", "/usr", true},
		{"/usr/**", "/usrx/a", false},
		{"/usr/**/*.so", "/usr/lib/x/y.so", true},
		{"/usr/**/*.so", "/usr/y.so", true},
		{"/usr/**/*.so", "/usr/lib/y.so.1", false},
		{"/boot/vmlinuz-*", "/boot/vmlinuz-6.12+deb13", true},
		{"/a/[", "/a/[", false},
		{"kernel/net/netfilter/**", "kernel/net/netfilter/ipvs/ip_vs", true},
		{"kernel/net/netfilter/**", "kernel/net/ipv4/netfilter/x", false},
	} {
		if got := match(tc.pattern, tc.name); got != tc.want {
			t.Errorf("match(%q, %q) = %v", tc.pattern, tc.name, got)
		}
	}
}

// A path always fits itself, and everything fits ** below any of its parents.
func TestMatchLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9.+_-]{1,6}`), 1, 6).Draw(t, "parts")
		name := "/" + strings.Join(parts, "/")
		if !match(name, name) {
			t.Fatalf("%s does not fit itself", name)
		}
		cut := rapid.IntRange(0, len(parts)).Draw(t, "cut")
		pattern := strings.TrimSuffix("/"+strings.Join(parts[:cut], "/"), "/") + "/**"
		if !match(pattern, name) {
			t.Fatalf("%s does not fit %s", name, pattern)
		}
		if match(name+"x", name) {
			t.Fatalf("%s fits %sx", name, name)
		}
	})
}
