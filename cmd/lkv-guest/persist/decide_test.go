package persist

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rarely is true now and then. The generator prefers small indexes, so the usual comes first.
func rarely(t *rapid.T, what string) bool {
	return rapid.SampledFrom([]bool{false, false, false, false, false, true}).Draw(t, what)
}

// found draws one disk in any state, possible or not.
func found(t *rapid.T, i int) Found {
	f := Found{Disk: Disk{
		Name: fmt.Sprintf("sd%c", 'a'+i), Node: fmt.Sprintf("/dev/sd%c", 'a'+i),
		Size:    rapid.SampledFrom([]int64{100 * mib, 100 * mib, mib, 0}).Draw(t, "size"),
		Serials: []string{rapid.SampledFrom([]string{serialA, serialB, ""}).Draw(t, "serial")},
		Busy:    rapid.SampledFrom([]string{"", "", "", "mounted"}).Draw(t, "busy"),
	}, Data: rapid.SampledFrom([]int64{-1, -1, 0, 5000}).Draw(t, "data")}
	if rarely(t, "fs") {
		f.Super = &Super{Type: rapid.SampledFrom([]string{"ext4", "xfs"}).Draw(t, "type"), UUID: rapid.SampledFrom([]string{"u1", "u2"}).Draw(t, "uuid"),
			Label: rapid.SampledFrom([]string{"docker", "other"}).Draw(t, "label"), Size: 50 * mib, Fresh: rapid.Bool().Draw(t, "fresh")}
		f.Signature = rapid.SampledFrom([]string{f.Super.Type, ""}).Draw(t, "seen")
	} else if rarely(t, "sig") {
		f.Signature = "swap"
	}
	if rarely(t, "note") {
		f.Note = &Note{Label: rapid.SampledFrom([]string{"docker", "other"}).Draw(t, "for"), UUID: "u1", Filesystem: "ext4"}
	}
	f.Unclear = rarely(t, "unclear")
	f.Removable = rarely(t, "removable")
	if rarely(t, "bad") {
		f.Err = errors.New("I/O error")
	}
	return f
}

func draw(t *rapid.T) (Want, []Found) {
	var all []Found
	for i := range rapid.IntRange(0, 5).Draw(t, "disks") {
		all = append(all, found(t, i))
	}
	return Want{Label: "docker", DiskUUID: rapid.SampledFrom([]string{"", "", serialA}).Draw(t, "uuid"), Filesystem: "ext4"}, all
}

// TestDecideNeverFormatsData states the rule again, in other words than Decide: what is formatted is a disk in nobody's
// use that was read, and is either zero everywhere or carries our own note and no file system but the one noted.
func TestDecideNeverFormatsData(t *testing.T) {
	formats := 0
	rapid.Check(t, func(t *rapid.T) {
		w, all := draw(t)
		c := Decide(w, all)
		f := c.Disk
		if c.Verb != Format {
			return
		}
		formats++
		zero := f.Super == nil && f.Signature == "" && f.Data < 0 && !f.Removable && f.Size >= smallest["ext4"]
		ours := f.Note != nil && f.Note.Label == "docker" && f.Signature == "" && !f.Removable &&
			(f.Super == nil && f.Data != 0 || f.Super != nil && f.Super.UUID == f.Note.UUID && f.Super.Fresh)
		if f.Err != nil || f.Busy != "" || f.Unclear || f.Parent != "" || !zero && !ours {
			t.Fatalf("formats %+v", f)
		}
		for _, g := range all {
			if w.DiskUUID == "" && g.Name != f.Name && (g.Err != nil || g.Super != nil && g.Super.Label == "docker") {
				t.Fatalf("formats %s while %s carries the label or cannot be read", f.Node, g.Node)
			}
		}
		if w.DiskUUID != "" && !slices.Contains(f.Serials, w.DiskUUID) {
			t.Fatalf("formats %s, which is not disk %s", f.Node, w.DiskUUID)
		}
	})
	if formats == 0 {
		t.Error("no drawn machine had a disk to format: the test tests nothing")
	}
}

// TestDecideIgnoresOrder: the same disks in another order give the same answer, as names and order change between boots.
func TestDecideIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, all := draw(t)
		a := Decide(w, all)
		b := Decide(w, rapid.Permutation(all).Draw(t, "order"))
		if a.Verb != b.Verb || a.Disk.Name != b.Disk.Name {
			t.Fatalf("%v %s, in another order %v %s", a.Verb, a.Disk.Name, b.Verb, b.Disk.Name)
		}
	})
}

// TestDecideUses: the disk used carries the label (or the UUID asked for) and is the only one.
func TestDecideUses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, all := draw(t)
		c := Decide(w, all)
		if c.Verb != Use && c.Verb != Format && c.Reason == "" {
			t.Fatal("a refusal without a reason")
		}
		if c.Verb != Use {
			return
		}
		n := 0
		for _, f := range all {
			if f.Err == nil && f.Super != nil && f.Super.Label == "docker" && !w.half(f) && (w.DiskUUID == "" || slices.Contains(f.Serials, w.DiskUUID)) {
				n++
			}
		}
		if f := c.Disk; n != 1 || f.Super.Label != "docker" || f.Super.Type != "ext4" || f.Busy != "" || f.Unclear {
			t.Fatalf("%d candidates, uses %+v", n, f)
		}
	})
}

// TestDecideHalf: a superblock that blkid does not accept is the remainder of our own mkfs only when it has the UUID
// that was noted and was never mounted.
func TestDecideHalf(t *testing.T) {
	w := Want{Label: "docker", Filesystem: "ext4"}
	for _, c := range []struct {
		super Super
		want  Verb
	}{
		{Super{Type: "ext4", Label: "docker", UUID: "u1", Fresh: true}, Format},
		{Super{Type: "ext4", Label: "docker", UUID: "u2", Fresh: true}, Refuse},
		{Super{Type: "ext4", Label: "docker", UUID: "u1"}, Refuse},
		{Super{Type: "ext4", Label: "other", UUID: "u1", Fresh: true}, Wait},
	} {
		f := Found{Disk: Disk{Name: "sda", Node: "/dev/sda", Size: 80 * mib}, Super: &c.super, Data: 1080,
			Note: &Note{Label: "docker", UUID: "u1", Filesystem: "ext4"}}
		if got := Decide(w, []Found{f}); got.Verb != c.want {
			t.Errorf("%+v: %d (%s), want %d", c.super, got.Verb, got.Reason, c.want)
		}
	}
}
