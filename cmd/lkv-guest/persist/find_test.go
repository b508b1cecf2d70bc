package persist

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestLateDiskBeforeFormat: the disk with the label comes after the blank one, when the time is over already. As long
// as disks keep coming the blank one is not formatted: it would hide the other.
func TestLateDiskBeforeFormat(t *testing.T) {
	l := newLab(t)
	l.disk("sda", serialA, 80*mib)
	p := l.persist()
	p.Settle = 2 * poll
	came := false
	p.Run = func(ctx context.Context, name string, args ...string) (string, int, error) {
		out, code, err := Exec(ctx, name, args...)
		if !came {
			came = true
			l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", l.disk("sdb", serialB, 80*mib))
		}
		return out, code, err
	}
	c, err := p.find(t.Context())
	if err != nil || c.Verb != Use || c.Disk.Name != "sdb" {
		t.Errorf("verb %d, disk %s, %v; want to use sdb", c.Verb, c.Disk.Name, err)
	}
}

// TestDisksNeverSettle: with disks that come and go for ever a blank one is not formatted, and the boot ends.
func TestDisksNeverSettle(t *testing.T) {
	l := newLab(t)
	l.disk("sda", serialA, 80*mib)
	p := l.persist()
	p.Settle = 2 * poll
	n := 0
	p.Run = func(ctx context.Context, name string, args ...string) (string, int, error) {
		n++
		l.attr("sda", "dev", fmt.Sprintf("8:%d", n))
		return Exec(ctx, name, args...)
	}
	if c, err := p.find(t.Context()); err == nil {
		t.Errorf("verb %d without an error", c.Verb)
	}
}

// TestUnreadableDiskIsReadAgain: a disk can be listed a moment before its node exists.
func TestUnreadableDiskIsReadAgain(t *testing.T) {
	l := newLab(t)
	l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", l.disk("sda", serialA, 80*mib))
	p := l.persist()
	p.Timeout = 10 * time.Second
	failed := false
	p.Run = func(ctx context.Context, name string, args ...string) (string, int, error) {
		if !failed {
			failed = true
			return "", 0, errors.New("not ready")
		}
		return Exec(ctx, name, args...)
	}
	if c, err := p.find(t.Context()); err != nil || c.Verb != Use {
		t.Errorf("verb %d, %v", c.Verb, err)
	}
}
