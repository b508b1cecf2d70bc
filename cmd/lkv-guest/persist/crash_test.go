package persist

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// boot does what Ensure does before it mounts.
func boot(ctx context.Context, p Persist) (f Found, formatted bool, err error) {
	c, err := p.find(ctx)
	if err != nil {
		return f, false, err
	}
	if f, formatted, err = p.make(ctx, c); err != nil {
		return f, formatted, err
	}
	return f, formatted, p.fsck(ctx, p.Filesystem, f.Node)
}

// TestFormat: the result is a sound file system with our label that leaves the tail free, and a second boot does nothing.
func TestFormat(t *testing.T) {
	l := newLab(t)
	l.disk("sda", serialA, 80*mib)
	f, formatted, err := boot(t.Context(), l.persist())
	if err != nil || !formatted || f.Super.Label != "docker" || f.Super.Size != 79*mib || !f.Super.Fresh {
		t.Fatalf("%+v, formatted %t, %v", f.Super, formatted, err)
	}
	if at, err := NotBlank(readerOf(t, f.Node, 79*mib), mib, -1); at >= 0 || err != nil {
		t.Errorf("the tail holds something at %d (%v): the note must be gone", at, err)
	}
	before := l.sums()
	again, formatted, err := boot(t.Context(), l.persist())
	if err != nil || formatted || again.Super.UUID != f.Super.UUID {
		t.Errorf("second boot: %+v, formatted %t, %v", again.Super, formatted, err)
	}
	if !maps(before, l.sums()) {
		t.Error("a second boot of a clean disk wrote to it")
	}
}

func maps(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func readerOf(t *testing.T, file string, from int64) *io.SectionReader {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return io.NewSectionReader(f, from, 1<<62)
}

// TestPowerCutAtEveryStep cuts the first boot before every program it runs, and the second one too. The third must end
// with a sound file system, without any help.
func TestPowerCutAtEveryStep(t *testing.T) {
	cuts := map[string]int{}
	for first := 1; ; first++ {
		var done bool
		for second := 1; ; second++ {
			l := newLab(t)
			l.disk("sda", serialA, 80*mib)
			at1, at2 := cutBoot(t, l, first), cutBoot(t, l, second)
			cuts[at1]++
			if f, _, err := boot(t.Context(), l.persist()); err != nil || f.Super.Label != "docker" || f.Note != nil {
				t.Errorf("after cuts before %s (%d) and %s (%d): %+v, %v", at1, first, at2, second, f, err)
			}
			if done = at1 == ""; done || at2 == "" {
				break
			}
		}
		if done {
			break
		}
	}
	for _, name := range []string{"blkid", "mke2fs", "e2fsck"} {
		if cuts[name] == 0 {
			t.Errorf("no boot was cut before %s: the sweep misses it", name)
		}
	}
}

// cutBoot boots and cuts before the nth program, whose name it returns; empty when fewer ran.
func cutBoot(t *testing.T, l *lab, n int) (at string) {
	t.Helper()
	p := l.persist()
	p.Run = crashing(func(name string) bool {
		if n--; n == 0 {
			at = name
		}
		return n <= 0
	})
	if _, _, err := boot(t.Context(), p); (err != nil) != (at != "") {
		t.Fatalf("cut before %q: error %v", at, err)
	}
	return at
}

// TestTornFormat: a power cut in the middle of mkfs leaves any part of its writes on the disk, in any order. The next
// boot must format again or find the file system complete.
func TestTornFormat(t *testing.T) {
	const sector = 512
	l := newLab(t)
	disk := l.disk("sda", serialA, 80*mib)
	p := l.persist()
	var blank, made []byte
	p.Run = func(ctx context.Context, name string, args ...string) (string, int, error) {
		if name == "mke2fs" {
			blank = slices.Clone(read(l, disk)) // with the note
		}
		if name == "e2fsck" && made == nil {
			made = read(l, disk)
			return "", 0, fmt.Errorf("power cut")
		}
		return Exec(ctx, name, args...)
	}
	if _, _, err := boot(t.Context(), p); err == nil || blank == nil || made == nil {
		t.Fatalf("mkfs was not seen: %v", err)
	}
	var changed []int64
	for at := int64(0); at < 80*mib; at += sector {
		if !bytes.Equal(blank[at:at+sector], made[at:at+sector]) {
			changed = append(changed, at)
		}
	}
	if len(changed) < 5 {
		t.Fatalf("mkfs changed only %d sectors", len(changed))
	}
	p.Run = Exec
	rapid.Check(t, func(rt *rapid.T) {
		kept := rapid.SliceOfN(rapid.Bool(), len(changed), len(changed)).Draw(rt, "kept")
		copy(kept, rapid.SliceOfN(rapid.Bool(), 8, 8).Draw(rt, "superblock")) // the interesting ones in every mixture
		l.must(os.Truncate(disk, 0))
		l.must(os.Truncate(disk, 80*mib))
		l.put(disk, notePlace(80*mib), blank[notePlace(80*mib):][:sample])
		for i, at := range changed {
			if kept[i] {
				l.put(disk, at, made[at:at+sector])
			}
		}
		f, _, err := boot(t.Context(), p)
		if err != nil || f.Super.Label != "docker" || f.Note != nil {
			rt.Fatalf("%+v: %v", f, err)
		}
	})
}

func read(l *lab, file string) []byte {
	l.t.Helper()
	data, err := os.ReadFile(file)
	l.must(err)
	return data
}

// TestMountedBeforeIsNeverFormatted: even with a note on it, a file system that somebody has mounted holds somebody's
// data. When it is broken, that is for a person to decide.
func TestMountedBeforeIsNeverFormatted(t *testing.T) {
	l := newLab(t)
	disk := l.disk("sda", serialA, 80*mib)
	const id = "11111111-2222-3333-4444-555555555555"
	l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^metadata_csum", "-L", "docker", "-U", id, disk, "79m")
	putNote(l, disk, Note{Serial: serialA, Size: 80 * mib, Label: "docker", UUID: id, Filesystem: "ext4"})
	l.put(disk, 1024+0x2c, []byte{1, 2, 3, 4})        // time of the last mount
	l.put(disk, 4096, bytes.Repeat([]byte{0xff}, 64)) // group descriptors: e2fsck will object
	if _, formatted, err := boot(t.Context(), l.persist()); err == nil || formatted || !strings.Contains(err.Error(), "was mounted before") {
		t.Errorf("formatted %t, %v", formatted, err)
	}
	s, ok, err := ReadSuper(readerOf(t, disk, 0))
	if err != nil || !ok || s.UUID != id {
		t.Errorf("%+v %t %v: the file system was replaced", s, ok, err)
	}
}

// TestBrokenIsNotMounted: what e2fsck -p will not repair stops the boot.
func TestBrokenIsNotMounted(t *testing.T) {
	l := newLab(t)
	disk := l.disk("sda", serialA, 80*mib)
	l.tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "docker", disk)
	p := l.persist()
	p.Run = func(ctx context.Context, name string, args ...string) (string, int, error) {
		if name == "e2fsck" {
			return "UNEXPECTED INCONSISTENCY", 4, nil
		}
		return Exec(ctx, name, args...)
	}
	refused(t, l, p, "need a decision")
}

// TestBlankNoLonger: whatever appears on the disk between the decision and the first write stops the write.
func TestBlankNoLonger(t *testing.T) {
	l := newLab(t)
	disk := l.disk("sda", serialA, 80*mib)
	p := l.persist()
	c, err := p.find(t.Context())
	if err != nil || c.Verb != Format {
		t.Fatal(c, err)
	}
	l.put(disk, 4096, []byte("late"))
	before := l.sums()
	if _, _, err := p.make(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no longer blank") {
		t.Errorf("error %v", err)
	}
	if !maps(before, l.sums()) {
		t.Error("the disk was changed")
	}
}

// TestTornThenCut: the superblock's first sector was written and the second was not; the boot after that is cut before
// its mkfs has begun. The disk must still be known as ours, whether blkid looks at the checksum (newer ones) or not.
func TestTornThenCut(t *testing.T) {
	for _, strict := range []bool{false, true} {
		l := newLab(t)
		disk := l.disk("sda", serialA, 80*mib)
		run := func(ctx context.Context, name string, args ...string) (string, int, error) {
			if strict && name == "blkid" && bytes.Equal(read(l, disk)[1536:2048], make([]byte, 512)) {
				return "", 2, nil
			}
			return Exec(ctx, name, args...)
		}
		if n := cutBefore(t, l, run, "e2fsck"); n != 1 {
			t.Fatalf("%d cuts", n)
		}
		l.put(disk, 1536, make([]byte, 512))
		if n := cutBefore(t, l, run, "mke2fs"); n != 1 {
			t.Fatalf("strict %t: %d boots were cut before mke2fs: the torn superblock was not formatted again", strict, n)
		}
		p := l.persist()
		p.Run = run
		if f, formatted, err := boot(t.Context(), p); err != nil || !formatted || f.Note != nil {
			t.Errorf("strict %t: %+v, formatted %t, %v", strict, f, formatted, err)
		}
	}
}

type runner = func(ctx context.Context, name string, args ...string) (string, int, error)

// cutBefore boots once with a power cut before that program and returns how often the boot came to it.
func cutBefore(t *testing.T, l *lab, run runner, program string) (n int) {
	t.Helper()
	p := l.persist()
	p.Run = func(ctx context.Context, name string, args ...string) (string, int, error) {
		if name == program {
			n++
			return "", 0, fmt.Errorf("power cut before %s", name)
		}
		return run(ctx, name, args...)
	}
	if _, _, err := boot(t.Context(), p); (err != nil) != (n > 0) {
		t.Fatalf("%d cuts, error %v", n, err)
	}
	return n
}
