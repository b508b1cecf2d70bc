package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		pid  int
		name string
		rest []string
	}{
		{[]string{"/init", "splash"}, 1, "init", nil},
		{[]string{"/sbin/init"}, 1, "init", nil},
		{[]string{"/init"}, 77, "init", []string{}},
		{[]string{"/usr/bin/lkv-guest", "persist", "--label", "x"}, 1, "persist", []string{"--label", "x"}}, // first in its container
		{[]string{"lkv-guest", "init"}, 1, "init", []string{}},
		{[]string{"/usr/sbin/shutdown", "-h", "now"}, 50, "shutdown", []string{"-h", "now"}},
		{[]string{"lkv-guest", "reboot"}, 50, "reboot", []string{}},
		{[]string{"lkv-guest"}, 50, "", nil},
	} {
		name, rest := command(c.args, c.pid)
		if d := cmp.Diff(c.rest, rest); name != c.name || d != "" {
			t.Errorf("%q as %d: %q %s", c.args, c.pid, name, d)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"lkv-guest", exitUsage, "usage:"}, {"lkv-guest wat", exitUsage, "usage:"}, {"lkv-guest help", 0, ""},
		{"lkv-guest persist --mount /x", exitUsage, "--label or --disk-uuid"},
		{"lkv-guest persist --mount /x --label d extra", exitUsage, `"extra"`},
		{"lkv-guest persist --mount x --label d", exitUsage, "absolute"},
		{"lkv-guest persist --mount /x --label d --filesystem btrfs", exitUsage, "ext4 or xfs"},
		{"lkv-guest gate --wat", exitUsage, "wat"}, {"shutdown -h 22:00", exitUsage, "now"}, {"lkv-guest init", exitError, "PID 1"},
	} {
		var out, err strings.Builder
		if code := run(strings.Fields(c.args), &out, &err); code != c.code || !strings.Contains(err.String(), c.says) {
			t.Errorf("%s: exit %d, %q", c.args, code, err.String())
		}
	}
}
