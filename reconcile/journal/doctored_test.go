package journal

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Each of these is a run that broke one promise. The verifier must say which.
func TestDoctoredRunsAreCaught(t *testing.T) {
	destroy := func(s *script) Intent { return Intent{Method: "Destroy_Task", Target: s.vm()} }
	for _, c := range []struct {
		code, name, base string
		doctor           func(*script)
	}{
		{"D1", "relocate", "roll", func(s *script) { s.insert(s.end(), Intent{Method: "RelocateVM_Task", Target: s.vm()}) }},
		{"D1", "unregister", "roll", func(s *script) { s.insert(s.end(), Intent{Method: "UnregisterVM", Target: s.vm()}) }},
		{"D1", "delete a disk", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "DeleteVirtualDisk_Task", Paths: []string{"[vm-1] lkv-disks/workers/x.vmdk"}})
		}},
		{"D1", "delete the folder", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "DeleteDatastoreFile_Task", Paths: []string{"[vm-1] lkv-disks"}})
		}},
		{"D1", "delete above the folder", "roll", func(s *script) {
			for i, l := range s.lines {
				if l.Look != nil {
					s.look(i, func(l *Look) { l.Disks[0].Path = strings.Replace(l.Disks[0].Path, "lkv-disks", "moved", 1) })
				}
			}
			s.insert(s.end(), Intent{Method: "DeleteDatastoreFile_Task", Paths: []string{"[vm-1] moved/"}})
		}},
		{"D1", "upload over a disk", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "PUT", Paths: []string{"[vm-1] x/y.vmdk"}})
		}},
		{"D1", "copy over a disk", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "CopyDatastoreFile_Task", Paths: []string{"[a] b", "[vm-1] lkv-disks/workers/x.vmdk"}})
		}},
		{"D1", "file operation", "roll", func(s *script) {
			s.call("ReconfigVM_Task", 1, func(in *Intent) { in.Devices[0].FileOperation = "replace" })
		}},
		{"D1", "remove a controller", "roll", func(s *script) {
			s.call("ReconfigVM_Task", 1, func(in *Intent) { in.Devices[0].Operation = "remove" })
		}},
		{"D1", "edit a disk's file", "roll", func(s *script) {
			s.call("ReconfigVM_Task", 1, func(in *Intent) { disk("edit")(in); in.Devices[1].Path = "[x] y.vmdk" })
		}},
		{"D1", "shrink a disk", "roll", func(s *script) { s.call("ReconfigVM_Task", 1, disk("edit")) }},
		{"D1", "flags", "roll", func(s *script) {
			s.call("ReconfigVM_Task", 1, func(in *Intent) { in.Fields = append(in.Fields, "Flags") })
		}},
		{"D2", "destroy with a disk", "roll", func(s *script) { s.insert(s.end(), destroy(s)) }},
		{"D2", "destroy without a fresh read", "roll", func(s *script) {
			i := s.at(1, release)
			s.look(s.before(i), func(l *Look) { l.Disks = []Disk{} })
			in := destroy(s)
			in.Target = s.lines[i].Intent.Target
			s.lines = s.lines[:i+1]
			s.lines = append(s.lines, Line{Close: &Close{}})
			s.insert(s.end(), in)
		}},
		{"D2", "destroy a folder", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "Destroy_Task", Target: Target{Kind: "Folder", Ref: "group-1"}})
		}},
		{"D3", "one disk on two VMs", "roll", func(s *script) {
			first := s.lines[s.at(0, of("wrk-01"))].Look
			s.look(s.at(0, of("wrk-02")), func(l *Look) { l.Disks = append(l.Disks, first.Disks[0]) })
		}},
		{"D3", "attach what another one has", "create", func(s *script) {
			i := s.at(0, func(l Line) bool { return swap(l) && l.Intent.Devices[0].Operation == "add" })
			own := s.lines[i].Intent
			other := *s.lines[s.before(i)].Look
			other.VM.Ref, other.VM.Name = "vm-999", "other"
			other.Disks = []Disk{{UUID: own.Record.Disks[0].UUID, Path: own.Record.Disks[0].Path}}
			s.lines = slices.Insert(s.lines, i, Line{Time: s.lines[i].Time, Look: &other})
		}},
		{"D4", "smaller", "roll", func(s *script) { s.look(s.at(3, looks), func(l *Look) { l.Disks[0].Bytes-- }) }},
		{"D4", "larger by itself", "roll", func(s *script) { s.look(s.at(3, looks), func(l *Look) { l.Disks[0].Bytes++ }) }},
		{"D4", "a parent", "roll", func(s *script) { s.look(s.at(3, looks), func(l *Look) { l.Disks[0].Parent = true }) }},
		{"D4", "shared", "roll", func(s *script) { s.look(s.at(3, looks), func(l *Look) { l.Disks[0].Shared = true }) }},
		{"D4", "another mode", "roll", func(s *script) {
			s.look(s.at(3, looks), func(l *Look) { l.Disks[0].Mode = "independent_nonpersistent" })
		}},
		{"D4", "another controller", "roll", func(s *script) {
			s.look(s.at(3, looks), func(l *Look) { l.Disks[0].Controller = "VirtualIDEController" })
		}},
		{"D4", "another UUID", "roll", func(s *script) {
			s.look(s.at(3, looks), func(l *Look) { l.Disks[0].UUID = "6000c200-0000-0000-0000-000000000000" })
		}},
		{"D4", "attach nonpersistent", "create", func(s *script) {
			i := s.at(0, func(l Line) bool { return swap(l) && l.Intent.Devices[0].Kind == diskKind })
			s.lines[i].Intent.Devices[0].Mode = "independent_nonpersistent"
		}},
		{"D5", "detach without a record", "roll", func(s *script) {
			for i, l := range s.lines {
				if l.Look != nil {
					s.look(i, func(l *Look) { l.Record.Disks = nil })
				}
			}
			s.call("ReconfigVM_Task", 1, disk("remove"))
		}},
		{"D5", "detach and forget at once", "roll", func(s *script) {
			s.call("ReconfigVM_Task", 1, func(in *Intent) { disk("remove")(in); in.Record.Disks = nil })
		}},
		{"D5", "the record forgets", "roll", func(s *script) { s.call("ReconfigVM_Task", 1, func(in *Intent) { in.Record.Disks = nil }) }},
		{"D5", "gone at the end", "roll", func(s *script) {
			i := len(s.lines) - 1
			for s.lines[i].Look == nil {
				i--
			}
			s.look(i, func(l *Look) { l.Disks, l.Record.Disks = []Disk{}, nil })
		}},
		{"D6", "power on without the disk", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.Disks = []Disk{} })
		}},
		{"D6", "power on with another disk", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.Disks[0].UUID = "6000c200-0000-0000-0000-000000000000" })
		}},
		{"D6", "power on with one more", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.Disks = append(l.Disks, Disk{UUID: "x"}) })
		}},
		{"D6", "power on without an ISO", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.ISO = "" })
		}},
		{"D6", "power on with another ISO", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.ISO = "[iso-nfs] lkv/worker/" + strings.Repeat("0", 64) + ".iso" })
		}},
		{"D6", "power on without a record", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.Record = nil })
		}},
		{"D7", "made twice", "create", func(s *script) {
			s.insert(s.end(), *s.lines[s.at(0, sends("CreateVirtualDisk_Task"))].Intent)
		}},
		{"D7", "made although recorded", "roll", func(s *script) {
			s.insert(s.end(), Intent{Method: "CreateVirtualDisk_Task", Paths: []string{"[vm-1] lkv-disks/workers/wrk-01-docker.vmdk"}})
		}},
		{"D7", "made elsewhere", "create", func(s *script) {
			s.call("CreateVirtualDisk_Task", 0, func(in *Intent) { in.Paths = []string{"[vm-1] wrk-01/x.vmdk"} })
		}},
		{"D8", "no read before", "roll", func(s *script) {
			i := s.before(s.at(0, sends("ShutdownGuest")))
			s.lines = slices.Delete(s.lines, i, i+1)
		}},
		{"D8", "a failed read before", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("ShutdownGuest"))), func(l *Look) { *l = Look{VM: l.VM, Error: "the read failed"} })
		}},
		{"D8", "another changeVersion", "roll", func(s *script) { s.call("ReconfigVM_Task", 1, func(in *Intent) { in.ChangeVersion += "0" }) }},
		{"D8", "no changeVersion", "roll", func(s *script) { s.call("ReconfigVM_Task", 1, func(in *Intent) { in.ChangeVersion = "" }) }},
		{"A1", "one too many down", "roll", func(s *script) {
			i, first := s.at(1, sends("ShutdownGuest")), s.vm()
			for k, l := range s.lines[:i] {
				if release(l) && l.Intent.Target == first {
					s.lines[k].Intent.Record = nil
				}
			}
		}},
		{"A1", "one was down before", "roll", func(s *script) {
			s.look(s.at(0, of("wrk-02")), func(l *Look) { l.Power, l.Guest = "poweredOff", nil })
		}},
		{"A2", "one more than wanted", "create", func(s *script) {
			f := *s.lines[s.at(0, func(l Line) bool { return l.Fleet != nil })].Fleet
			f.VMs = f.VMs[:1]
			s.lines[1].Fleet = &f
		}},
		{"A4", "released before the guest reported", "roll", func(s *script) {
			s.look(s.before(s.at(0, release)), func(l *Look) { l.Guest = nil })
		}},
		{"A4", "released with the old token", "roll", func(s *script) {
			s.look(s.before(s.at(0, release)), func(l *Look) { l.Guest.Token = "old" })
		}},
		{"A6", "changed without a claim", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("ShutdownGuest"))), func(l *Look) { l.Record.Owner = "" })
		}},
		{"A6", "changed under another's claim", "roll", func(s *script) {
			s.look(s.before(s.at(0, swap)), func(l *Look) { l.Record.Owner = "other" })
		}},
		{"A6", "claimed from another", "roll", func(s *script) {
			i := s.at(0, sends("ReconfigVM_Task"))
			s.look(s.before(i), func(l *Look) { l.Record.Owner, l.Record.Expires = "other", s.lines[i].Time.Add(time.Hour) })
		}},
		{"A4", "retired while it runs", "handover", func(s *script) {
			s.look(s.before(s.at(0, retires)), func(l *Look) { l.Power = "poweredOn" })
		}},
		{"A4", "retired before the other one serves", "handover", func(s *script) {
			for i := range s.lines[:s.at(0, retires)] {
				if of("wrk-01-green")(s.lines[i]) {
					s.look(i, func(l *Look) { l.Guest = nil })
				}
			}
		}},
		{"A4", "retired with nothing in its place", "handover", func(s *script) {
			for i := range s.lines[:s.at(0, retires)] {
				if l := s.lines[i].Look; l != nil && l.Record != nil {
					s.look(i, func(l *Look) { l.Record.Replaces = "" })
				}
				if in := s.lines[i].Intent; in != nil && in.Record != nil {
					in.Record.Replaces = ""
				}
			}
		}},
		{"D5", "gc of a VM that is in use", "gc", func(s *script) {
			for i := range s.lines {
				if l := s.lines[i].Look; l != nil && l.Record != nil {
					s.look(i, func(l *Look) { l.Record.Retired = time.Time{} })
				}
				if in := s.lines[i].Intent; in != nil && in.Record != nil {
					in.Record.Retired = time.Time{}
				}
			}
		}},
		{"D5", "a reconcile that lets a disk go", "gc", func(s *script) { s.lines[0].Head.Command = "reconcile" }},
		{"A6", "the epoch stands still", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("ReconfigVM_Task"))), func(l *Look) { l.Record.Epoch++ })
		}},
		{"A6", "claimed for another", "roll", func(s *script) { s.call("ReconfigVM_Task", 0, func(in *Intent) { in.Record.Owner = "other" }) }},
		{"A6", "ended another's claim", "roll", func(s *script) {
			s.look(s.before(s.at(0, release)), func(l *Look) { l.Record.Owner = "other" })
		}},
		{"A9", "powered on twice", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("PowerOnVM_Task"))), func(l *Look) { l.Power = "poweredOn" })
		}},
		{"A9", "shut down twice", "roll", func(s *script) {
			s.look(s.before(s.at(0, sends("ShutdownGuest"))), func(l *Look) { l.Power = "poweredOff" })
		}},
		{"A9", "written what was there", "roll", func(s *script) {
			i := s.at(0, sends("ReconfigVM_Task"))
			was := s.lines[s.before(i)].Look.Record
			s.call("ReconfigVM_Task", 0, func(in *Intent) { in.Record = was })
		}},
		{"A10", "a plan that acts", "roll", func(s *script) {
			h := *s.lines[0].Head
			h.Command = "plan"
			s.lines[0].Head = &h
		}},
		{"A13", "a join token", "roll", func(s *script) {
			s.look(s.at(0, looks), func(l *Look) {
				l.Record.Failed = "SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx"
			})
		}},
		{"A13", "a password in a URL", "roll", func(s *script) {
			s.look(s.at(0, looks), func(l *Look) { l.Record.Failed = "https://root:hunter2@vc/sdk" })
		}},
		{"A13", "the value of a user's key", "roll", func(s *script) {
			s.call("ReconfigVM_Task", 0, func(in *Intent) { in.Extra = append(in.Extra, Key{"guestinfo.app", "x"}) })
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

// What looks alike and is allowed.
func TestAllowedNeighbours(t *testing.T) {
	t.Run("grow", func(t *testing.T) {
		_, lines := real(t, "roll")
		s := &script{t: t, lines: lines}
		i := s.at(0, swap)
		was := s.lines[s.before(i)].Look.Disks[0]
		s.lines[i].Intent.Devices = append(s.lines[i].Intent.Devices, Device{Operation: "edit", Kind: diskKind, UUID: was.UUID, Path: was.Path, Bytes: was.Bytes * 2})
		for k := range s.lines[i:] {
			if l := s.lines[i+k].Look; l != nil && l.VM == s.lines[i].Intent.Target {
				s.look(i+k, func(l *Look) { l.Disks[0].Bytes *= 2 })
			}
		}
		if rep := verified(t, chained(t, s.lines)); !rep.OK() {
			t.Errorf("violated: %v %+v", violated(rep), rep.Invariants)
		}
	})
	t.Run("delete on purpose", func(t *testing.T) {
		_, lines := real(t, "roll")
		s := &script{t: t, lines: lines}
		s.lines[0].Head.Command = "delete"
		s.insert(s.end(), Intent{Method: "DeleteVirtualDisk_Task", Paths: []string{"[vm-1] lkv-disks/workers/orphan.vmdk"}})
		if rep := verified(t, chained(t, s.lines)); !rep.OK() {
			t.Errorf("violated: %v", violated(rep))
		}
	})
	t.Run("detach, then destroy", func(t *testing.T) {
		_, lines := real(t, "roll")
		s := &script{t: t, lines: lines}
		last := s.end() - 1
		for s.lines[last].Look == nil {
			last--
		}
		l := *s.lines[last].Look
		d, v2 := l.Disks[0], l
		s.insert(s.end(), Intent{Method: "ReconfigVM_Task", Target: l.VM, ChangeVersion: l.ChangeVersion, Fields: []string{"ChangeVersion", "DeviceChange"},
			Devices: []Device{{Operation: "remove", Kind: diskKind, Path: d.Path}}})
		v2.Disks, v2.ChangeVersion = []Disk{}, "next"
		s.lines = slices.Insert(s.lines, s.end(), Line{Time: s.lines[last].Time, Look: &v2})
		s.insert(s.end(), Intent{Method: "Destroy_Task", Target: l.VM})
		rep := verified(t, chained(t, s.lines))
		if got := violated(rep); slices.Contains(got, "D1") || slices.Contains(got, "D2") || !slices.Contains(got, "D5") {
			t.Errorf("violated %v, want D5 alone of the disk rules: nothing names the disk any more", got)
		}
	})
}
