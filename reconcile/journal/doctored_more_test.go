package journal

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Each is a neighbour of what one command, and no other, may do.
func TestDoctoredErrandsAreCaught(t *testing.T) {
	const other = "6000c200-0000-0000-0000-000000000000"
	last := func(s *script, method string) int { // the last call of a method
		for i := len(s.lines) - 1; ; i-- {
			if sends(method)(s.lines[i]) {
				return i
			}
		}
	}
	write := func(s *script, change func(*Intent)) { // changes the last change of a VM
		n := 0
		for _, l := range s.lines[:last(s, "ReconfigVM_Task")] {
			if sends("ReconfigVM_Task")(l) {
				n++
			}
		}
		s.call("ReconfigVM_Task", n, change)
	}
	by := func(command string) func(*script) {
		return func(s *script) { h := *s.lines[0].Head; h.Command = command; s.lines[0].Head = &h }
	}
	seen := func(s *script, change func(*Look)) { // changes what was seen before it
		s.look(s.before(last(s, "ReconfigVM_Task")), change)
	}
	for _, c := range []struct {
		code, name, base string
		doctor           func(*script)
	}{
		{"A6", "pause by another command", "pause", by("reconcile")},
		{"A6", "pause and claim", "pause", func(s *script) { write(s, func(in *Intent) { in.Record.Owner = "run-1" }) }},
		{"A6", "pause and something that is not kept", "pause", func(s *script) { write(s, func(in *Intent) { in.Record.Whole = "x" }) }},
		{"A6", "pause and another image", "pause", func(s *script) { write(s, func(in *Intent) { in.Record.Image = "x" }) }},
		{"A6", "pause and a device", "pause", func(s *script) {
			write(s, func(in *Intent) { in.Devices = append(in.Devices, Device{Operation: "edit", Kind: "VirtualCdrom"}) })
		}},
		{"A6", "pause and a key", "pause", func(s *script) { write(s, func(in *Intent) { in.Extra = append(in.Extra, Key{Key: "guestinfo.x"}) }) }},
		{"A6", "pause and a name", "pause", func(s *script) { write(s, func(in *Intent) { in.Name = "x" }) }},
		{"A6", "an end of a pause", "pause", func(s *script) {
			seen(s, func(l *Look) { l.Record.Paused = true })
			write(s, func(in *Intent) { in.Record.Paused = false })
		}},
		{"A6", "pause that shuts down", "pause", func(s *script) {
			s.insert(s.end(), Intent{Method: "ShutdownGuest", Target: s.lines[s.at(0, looks)].Look.VM})
		}},
		{"A6", "forget by another command", "forget", by("reconcile")},
		{"D5", "forget by another command", "forget", by("reconcile")},
		{"A6", "forget what another run holds", "forget", func(s *script) { seen(s, func(l *Look) { l.Record.Owner = "other" }) }},
		{"A6", "forget and rename", "forget", func(s *script) { write(s, func(in *Intent) { in.Name = "x" }) }},
		{"D5", "forget a disk that is not attached", "forget", func(s *script) {
			for i, l := range s.lines {
				if l.Look != nil && l.Look.VM.Name == "people-1" {
					s.look(i, func(l *Look) { l.Disks = []Disk{} })
				}
			}
		}},
		{"D5", "forget the record alone", "forget", func(s *script) {
			write(s, func(in *Intent) {
				in.Extra = slices.DeleteFunc(in.Extra, func(k Key) bool { return k.Key == ownerKey })
			})
		}},
		{"A6", "adopt by another command", "adopt", by("reconcile")},
		{"A6", "adopt a fleet's VM", "adopt", func(s *script) { seen(s, func(l *Look) { l.Fleet = "other" }) }},
		{"A6", "adopt what another run holds", "adopt", func(s *script) {
			seen(s, func(l *Look) { l.Record = &Record{Owner: "other", Expires: time.Now().Add(1e6 * time.Hour)} })
		}},
		{"A6", "adopt for a fleet that was not begun", "adopt", func(s *script) {
			s.lines[1].Fleet.Name = "other"
		}},
		{"A6", "adopt and claim", "adopt", func(s *script) { write(s, func(in *Intent) { in.Record.Owner = "run-1" }) }},
		{"A6", "adopt without a record", "adopt", func(s *script) { write(s, func(in *Intent) { in.Record = nil }) }},
		{"D5", "adopt with a disk that it has not", "adopt", func(s *script) { write(s, func(in *Intent) { in.Record.Disks[0].UUID = other }) }},
		{"A6", "change a VM of another fleet", "roll", func(s *script) {
			i := s.at(0, sends("ShutdownGuest"))
			s.look(s.before(i), func(l *Look) { l.Fleet = "other" })
		}},
		{"A6", "change a VM of nobody", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("ShutdownGuest"))), func(l *Look) { l.Fleet = "" })
		}},
		{"A6", "mark what another run holds", "pause", func(s *script) {
			marking(s)
			i := last(s, "ReconfigVM_Task")
			r := *s.lines[s.before(i)].Look.Record
			r.Owner, r.Expires = "other", time.Now().Add(1e6*time.Hour)
			seen(s, func(l *Look) { l.Record.Owner, l.Record.Expires = r.Owner, r.Expires })
			r.Ill = time.Unix(1, 0).UTC()
			write(s, func(in *Intent) { in.Record = &r })
		}},
		{"A6", "mark and claim for another", "pause", func(s *script) {
			marking(s)
			write(s, func(in *Intent) { in.Record.Owner = "other" })
		}},
		{"A6", "pause while rolling", "pause", by("reconcile")},
		{"D1", "delete by another command", "delete", by("gc")},
		{"D1", "delete a recorded disk", "delete", func(s *script) {
			s.look(s.at(0, looks), func(l *Look) { l.Record.Disks[0].Path = "[vm-1] lkv-disks/people/people-1-docker.vmdk" })
		}},
		{"D1", "delete an attached disk", "delete", func(s *script) {
			s.look(s.at(0, looks), func(l *Look) { l.Disks[0].Path = "[vm-1] lkv-disks/people/people-1-docker.vmdk" })
		}},
		{"D1", "delete a disk elsewhere", "delete", func(s *script) {
			s.call(deleteDisk, 0, func(in *Intent) { in.Paths = []string{"[vm-1] people-1/people-1.vmdk"} })
		}},
		{"D1", "remove another disk's marker", "delete", func(s *script) {
			s.call("DeleteDatastoreFile_Task", 0, func(in *Intent) { in.Paths = []string{"[vm-1] lkv-disks/people/people-2-docker.made"} })
		}},
		{"D1", "remove the marker on another datastore", "delete", func(s *script) {
			s.call("DeleteDatastoreFile_Task", 0, func(in *Intent) { in.Paths = []string{"[vm-2] lkv-disks/people/people-1-docker.made"} })
		}},
		{"D1", "remove the folder", "delete", func(s *script) {
			s.call("DeleteDatastoreFile_Task", 0, func(in *Intent) { in.Paths = []string{"[vm-1] lkv-disks/people"} })
		}},
		{"D1", "remove the marker before the disk", "delete", func(s *script) {
			i := s.at(0, sends("DeleteDatastoreFile_Task"))
			s.insert(s.at(0, sends(deleteDisk)), *s.lines[i].Intent)
		}},
		{"D1", "remove the marker of a disk that could not be deleted", "delete", func(s *script) {
			i := s.at(0, func(l Line) bool { return l.Result != nil && l.Result.State == Success })
			s.lines[i].Result = &Result{Call: s.lines[i].Result.Call, State: Failed}
		}},
		{"D1", "remove the marker while nobody knows", "delete", func(s *script) {
			i := s.at(0, func(l Line) bool { return l.Result != nil && l.Result.State == Success })
			s.lines = slices.Delete(s.lines, i, i+1)
		}},
		{"D5", "gc of a disk in another folder", "gc", func(s *script) {
			for i, l := range s.lines {
				if l.Look != nil {
					s.look(i, func(l *Look) {
						for k := range l.Disks {
							l.Disks[k].Path = strings.Replace(l.Disks[k].Path, "lkv-disks/workers", "wrk-01", 1)
						}
					})
				}
			}
		}},
		{"D1", "remove a content library's item", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "library item delete", Target: Target{Kind: "ContentLibrary"}})
		}},
		{"D1", "remove a disk from a content library", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "library update-session file remove", Name: "a.vmdk", Target: Target{Kind: "ContentLibrary"}})
		}},
		{"A1", "one too many down in two vCenters", "many", func(s *script) {
			i := s.at(1, sends("ShutdownGuest"))
			first := s.lines[s.at(0, sends("ShutdownGuest"))].Intent.Target
			for k, l := range s.lines[:i] {
				if release(l) && l.Intent.Target == first {
					s.lines[k].Intent.Record = nil
				}
			}
		}},
		{"A2", "one more than wanted in two vCenters", "many", func(s *script) {
			i := s.at(0, looks)
			s.insert(s.end(), Intent{Method: "CreateVM_Task", Name: "wrk-05", Target: Target{VCenter: s.lines[i].Look.VM.VCenter, Kind: "Folder", Ref: "group-v1"},
				Extra: []Key{{ownerKey, `{"fleet":"workers"}`}}})
		}},
	} {
		t.Run(c.code+"-"+strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			_, lines := real(t, c.base)
			s := &script{t: t, lines: lines}
			c.doctor(s)
			rep := verified(t, chained(t, s.lines))
			if rep.Broken != "" {
				t.Fatalf("broken: %s", rep.Broken)
			}
			if !slices.Contains(violated(rep), c.code) {
				t.Errorf("not caught; violated is %v", violated(rep))
			}
			if rep.OK() {
				t.Error("it is said to be fine")
			}
		})
	}
}

// marking makes of a journal of pauses one of a reconcile that notes since when the same VMs do not serve.
func marking(s *script) {
	h := *s.lines[0].Head
	h.Command = "reconcile"
	s.lines[0].Head = &h
	for i, l := range s.lines {
		if sends("ReconfigVM_Task")(l) {
			r := *s.lines[s.before(i)].Look.Record
			r.Ill = time.Unix(1, 0).UTC()
			in := *l.Intent
			in.Record = &r
			s.lines[i].Intent = &in
		}
	}
}

// What looks alike and is allowed.
func TestAllowedErrands(t *testing.T) {
	t.Run("mark without a claim", func(t *testing.T) {
		_, lines := real(t, "pause")
		s := &script{t: t, lines: lines}
		marking(s)
		if rep := verified(t, chained(t, s.lines)); !rep.OK() {
			t.Errorf("violated: %v", violated(rep))
		}
	})
	t.Run("pause of what another run holds", func(t *testing.T) {
		_, lines := real(t, "pause")
		s := &script{t: t, lines: lines}
		i := s.at(0, sends("ReconfigVM_Task"))
		s.look(s.before(i), func(l *Look) { l.Record.Owner = "other" })
		s.call("ReconfigVM_Task", 0, func(in *Intent) { in.Record.Owner = "other" })
		if rep := verified(t, chained(t, s.lines)); !rep.OK() {
			t.Errorf("violated: %v", violated(rep))
		}
	})
	t.Run("push to a content library", func(t *testing.T) {
		_, lines := real(t, "roll")
		s := &script{t: t, lines: lines}
		for _, m := range []string{"item create", "update-session create", "update-session file add", "upload", "update-session complete"} {
			s.insert(s.end(), Intent{Method: "library " + m, Name: strings.Repeat("0", 64) + ".iso", Target: Target{Kind: "ContentLibrary"}})
		}
		if rep := verified(t, chained(t, s.lines)); !rep.OK() {
			t.Errorf("violated: %v", violated(rep))
		}
	})
}

// TestRetiredReplacementIsNoHeir: one that failed is kept for evidence, and its record still names the VM whose place it
// was to take. The next replacement of that VM does not wait for it, and it is none.
func TestRetiredReplacementIsNoHeir(t *testing.T) {
	for _, alone := range []bool{false, true} {
		raw, _ := real(t, "handover")
		s := &script{t, parse(t, raw)}
		first := s.at(0, of("wrk-01"))
		l := *s.lines[first].Look
		l.VM.Ref, l.VM.Name, l.VM.ID = "vm-9999", "wrk-01-green-retired-1", "9999"
		l.Power, l.Guest, l.Disks = "poweredOff", nil, []Disk{}
		l.Record = &Record{Replaces: s.lines[first].Look.VM.ID, Retired: s.lines[first].Time.Add(-time.Hour), Whole: "x"}
		s.lines = slices.Insert(s.lines, first, Line{N: 200_000, Time: s.lines[first].Time, Look: &l})
		if alone {
			for i := range s.lines[:s.at(0, retires)] {
				if x := s.lines[i].Look; x != nil && x.Record != nil && i != first {
					s.look(i, func(l *Look) { l.Record.Replaces = "" })
				}
				if in := s.lines[i].Intent; in != nil && in.Record != nil {
					in.Record.Replaces = ""
				}
			}
		}
		if bad := violated(verified(t, chained(t, s.lines))); slices.Contains(bad, "A4") != alone || !alone && len(bad) > 0 {
			t.Errorf("without another one: %v, violated: %v", alone, bad)
		}
	}
}
