package ui

import (
	"strings"
	"testing"
)

func TestBrief(t *testing.T) {
	digest := strings.Repeat("0123456789ab", 6)[:64]
	for in, want := range map[string]string{
		"insert [iso] lkv/w/" + digest + ".iso now": "insert [iso] lkv/w/0123456789ab….iso now",
		digest + " → " + digest:                     "0123456789ab… → 0123456789ab…",
		digest[:40]:                                 digest[:40],
		"serial 6000c29a5e0d4f0fb5f3f1f0a1b2c3d4":   "serial 6000c29a5e0d4f0fb5f3f1f0a1b2c3d4",
	} {
		if got := Brief(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
