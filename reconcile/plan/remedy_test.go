package plan

import (
	"strings"
	"testing"
)

// What is said of a disk that is not attached fits where its file is now.
func TestPutBackFitsWhereTheFileIs(t *testing.T) {
	r := DiskRecord{Name: "docker", UUID: "6000C290-0001-AAAA-BBBB-CCCCDDDDEEEE", Path: "[ssd-1] lkv-disks/f/a-docker.vmdk"}
	at := func(path, uuid string) []DiskFile { return []DiskFile{{Path: path, UUID: uuid}} }
	command := "lkv disks attach --vm a --disk docker"
	for name, tt := range map[string]struct {
		power Power
		files []DiskFile
		says  string
	}{
		"in its place":            {Off, at(r.Path, r.UUID), command},
		"in its place, VM on":     {On, at(r.Path, strings.ToLower(r.UUID)), "shut the VM down, then " + command},
		"suspended":               {Suspended, at(r.Path, r.UUID), "shut the VM down, then " + command},
		"moved":                   {Off, at("[ssd-2] lkv-disks/f/a-docker.vmdk", r.UUID), "in the vSphere client attach it to the VM as an existing hard disk, from where it is now: [ssd-2] lkv-disks/f/a-docker.vmdk"},
		"moved, VM on":            {On, at("[ssd-1] x.vmdk", r.UUID), "shut the VM down, then in the vSphere client attach it to the VM as an existing hard disk, from where it is now: [ssd-1] x.vmdk"},
		"another one lies there":  {Off, at(r.Path, "6000C290-0009-AAAA-BBBB-CCCCDDDDEEEE"), "in the vSphere client attach the recorded disk to the VM as an existing hard disk: the file at its path is another one; lkv disks list shows those there are"},
		"moved, and another came": {Off, append(at(r.Path, "6000C290-0009-AAAA-BBBB-CCCCDDDDEEEE"), at("[ssd-2] x.vmdk", r.UUID)...), "in the vSphere client attach it to the VM as an existing hard disk, from where it is now: [ssd-2] x.vmdk"},
		"not seen":                {Off, nil, "find its file, in the vSphere client or in a backup; when it is back in its place, " + command + "; or attach it in the vSphere client from where it is"},
	} {
		if got := putBack(Observed{Files: tt.files}, VM{Name: "a", Power: tt.power}, r); got != tt.says {
			t.Errorf("%s: %s", name, got)
		}
	}
	unknown := DiskRecord{Name: "docker", Path: r.Path} // a UUID that was never recorded equals no other
	if got := putBack(Observed{Files: at("[ssd-2] x.vmdk", "")}, VM{Name: "a", Power: Off}, unknown); !strings.HasPrefix(got, "find its file") {
		t.Errorf("without a UUID: %s", got)
	}
}

// A place whose disk is gone: files that nobody has are named, and only these.
func TestBringBackNamesWhatNobodyHas(t *testing.T) {
	w := WantVM{Name: "f-1", Ordinal: 1, Disks: []WantDisk{{Name: "docker"}}}
	want := Desired{Fleet: "f", VMs: []WantVM{w}}
	path := DiskPath("f", w, w.Disks[0])
	o := Observed{
		VMs: []VM{{Name: "f-2", Fleet: "f", Disks: []Disk{{UUID: "6000C290-0002", Path: "[a] lkv-disks/f/f-2-docker.vmdk"}},
			Record: Record{Takes: []DiskRecord{{Name: "docker", UUID: "6000C290-0003", Path: "[a] lkv-disks/f/f-3-docker.vmdk"}}}}},
		Files: []DiskFile{
			{Path: "[a] lkv-disks/f/f-2-docker.vmdk", UUID: "6000C290-0002"}, {Path: "[a] lkv-disks/f/copy.vmdk", UUID: "6000C290-0002"},
			{Path: "[a] lkv-disks/f/f-3-docker.vmdk", UUID: "6000C290-0003"}, {Path: "[b] lkv-disks/f/f-1-docker.vmdk", UUID: "6000C290-0004"},
		},
	}
	if got := bringBack(want, o, path); strings.Contains(got, "no VM has") || !strings.Contains(got, "lkv-disks/f/f-1-docker.vmdk again") || !strings.Contains(got, "lkv-disks/f/f-1-docker.made") ||
		strings.Contains(got, "disks attach") {
		t.Errorf("%s", got)
	}
	o.Files = append(o.Files, DiskFile{Path: "[a] lkv-disks/f/renamed.vmdk", UUID: "6000C290-0005"})
	if got := bringBack(want, o, path); !strings.Contains(got, "(no VM has, or would get, [a] lkv-disks/f/renamed.vmdk)") {
		t.Errorf("%s", got)
	}
}
