//go:build e2e

package rollout

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/go-cmp/cmp"
)

// datum is one data disk, as it must be to the end.
type datum struct {
	path     string // on the datastore
	uuid     string
	precious string // SHA-256 of a file on it
}

var (
	diaryRule = regexp.MustCompile(`LKV-E2E diary=(\S+), precious=([0-9a-f]{64}) blocks=(\d+)\*(\d+) end`)
	uuidRule  = regexp.MustCompile(`(?m)^ddb\.uuid = "([0-9a-fA-F -]+)"`)
)

// entry is what a guest wrote on its console about its data disk.
type entry struct {
	diary    string // releases that were booted with it
	precious string
	bytes    int64 // of the file system
}

// console is what a VM has written on its serial port, at all boots.
func (b *bench) console(vm string) string {
	b.Helper()
	v, err := b.lab.VM(vm)
	if err != nil {
		b.Fatal(err)
	}
	log, err := os.ReadFile(v.Serial)
	if err != nil {
		b.Fatal(err)
	}
	return string(log)
}

// orderly wants a VM to have gone off by itself so often: services stopped, file systems unmounted.
func (b *bench) orderly(vm string, want int) {
	b.Helper()
	if n := strings.Count(b.console(vm), "lkv: power off"); n != want {
		b.Errorf("%s: %d orderly shutdowns, want %d", vm, n, want)
	}
}

// says returns the last entry on a VM's console.
func (b *bench) says(vm string) entry {
	b.Helper()
	all := diaryRule.FindAllStringSubmatch(b.console(vm), -1)
	if len(all) == 0 {
		b.Fatalf("%s has said nothing about its disk", vm)
	}
	last := all[len(all)-1]
	count, err1 := strconv.ParseInt(last[3], 10, 64)
	size, err2 := strconv.ParseInt(last[4], 10, 64)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return entry{last[1], last[2], count * size}
}

// first notes the data disk of a VM that was made just now, which its guest has found blank.
func (b *bench) first(vm string) datum {
	b.Helper()
	v, err := b.lab.VM(vm)
	if err != nil || len(v.Disks) != 1 {
		b.Fatalf("%s: %v, disks %q", vm, err, v.Disks)
	}
	if n := strings.Count(b.console(vm), "formatted=true"); n != 1 {
		b.Errorf("%s has formatted a disk %d times", vm, n)
	}
	d := datum{path: v.Disks[0], precious: b.says(vm).precious}
	d.uuid = b.uuid(d)
	return d
}

// local is a disk's descriptor on this machine.
func (b *bench) local(d datum) string {
	store, path, _ := strings.Cut(strings.TrimPrefix(d.path, "["), "] ")
	return filepath.Join(b.lab.DatastoreDir("DC1", store), path)
}

func (b *bench) uuid(d datum) string {
	b.Helper()
	text, err := os.ReadFile(b.local(d))
	if err != nil {
		b.Fatal(err)
	}
	m := uuidRule.FindStringSubmatch(string(text))
	if m == nil {
		b.Fatalf("no UUID in %s", d.path)
	}
	return m[1]
}

// kept wants everything about the disks as it was: file, UUID, the bytes as the guest reads them and as another program
// reads them off the disk file, and no other disk file anywhere.
func (b *bench) kept(disks ...datum) {
	b.Helper()
	if err := b.lab.Invariants(); err != nil {
		b.Error(err)
	}
	var want []string
	for _, d := range disks {
		want = append(want, b.local(d))
		if got := b.uuid(d); got != d.uuid {
			b.Errorf("UUID of %s: %s, was %s", d.path, got, d.uuid)
		}
		if got := b.read(d, "/precious"); fmt.Sprintf("%x", sha256.Sum256(got)) != d.precious {
			b.Errorf("%s: the file's %d bytes are not what they were", d.path, len(got))
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, b.diskFiles()); diff != "" {
		b.Errorf("disk files (-want +got):\n%s", diff)
	}
}

// diskFiles are the descriptors of all disks on all datastores.
func (b *bench) diskFiles() []string {
	b.Helper()
	var list []string
	err := filepath.WalkDir(filepath.Join(b.dir, "lab", "datastores"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, ".vmdk") && !strings.HasSuffix(path, "-flat.vmdk") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// read reads a file off a disk without any guest.
func (b *bench) read(d datum, file string) []byte {
	b.Helper()
	tool, err := exec.LookPath("debugfs")
	if err != nil {
		tool = "/usr/sbin/debugfs" // not everybody's PATH has it
	}
	out, err := exec.CommandContext(b.Context(), tool, "-R", "cat "+file, strings.TrimSuffix(b.local(d), ".vmdk")+"-flat.vmdk").Output()
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// serves wants a VM that runs the release with this disk, which nobody else has, and a guest that found on it what it
// left there: the releases that were booted with it so far.
func (b *bench) serves(vm, release string, d datum, diary string) {
	b.Helper()
	for _, v := range b.lab.VMs() {
		has := slices.Contains(v.Disks, d.path)
		if v.Name != vm && has {
			b.Errorf("%s has the disk of %s", v.Name, vm)
		}
		if v.Name == vm && (v.Power != "poweredOn" || !has || len(v.Disks) != 1 || v.ISO != b.isos[release]) {
			b.Errorf("%s does not run release %s (%s): %+v", vm, release, b.isos[release], v)
		}
	}
	if got := b.says(vm); got.diary != diary || got.precious != d.precious {
		b.Errorf("%s found %+v on its disk, want diary %s and file %s", vm, got, diary, d.precious)
	}
}

// boots is how often a VM was powered on.
func (b *bench) boots(vm string) int {
	b.Helper()
	v, err := b.lab.VM(vm)
	if err != nil {
		b.Fatal(err)
	}
	return v.Boots
}

// hooks returns what the drain hook was told since the last time, a line each.
func (b *bench) hooks() []string {
	b.Helper()
	path := filepath.Join(b.dir, "hooks.log")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil // it was not called
	}
	if err := syscall.Unlink(path); err != nil {
		b.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}
