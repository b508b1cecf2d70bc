package vsphere_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// smallDisk is the size of data disks whose bytes are compared, all of them.
const smallDisk = 8 << 20

// imprint is a data disk as it was: whose UUID, what bytes.
type imprint struct {
	UUID, Path, Sum string
	Bytes           int64
}

// imprint writes a pattern into every data disk of a fleet, behind what the guest has written, and remembers all bytes.
func (r *rig) imprint(d plan.Desired) []imprint {
	r.Helper()
	var out []imprint
	for _, f := range r.observe(d).Files {
		flat := r.bytesFile(d, f.Path)
		w, err := os.OpenFile(flat, os.O_WRONLY, 0)
		if err != nil {
			r.Fatal(err)
		}
		var seed [32]byte
		copy(seed[:], f.UUID)
		pattern := make([]byte, 64<<10)
		_, _ = rand.NewChaCha8(seed).Read(pattern) // it never fails
		for _, at := range []int64{3 << 20, f.Bytes - int64(len(pattern))} {
			if _, err := w.WriteAt(pattern, at); err != nil {
				r.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			r.Fatal(err)
		}
		out = append(out, imprint{f.UUID, f.Path, r.sum(flat, f.Bytes), f.Bytes})
	}
	return out
}

// bytesFile is the file on this machine that holds a disk's bytes.
func (r *rig) bytesFile(d plan.Desired, path string) string {
	ds, rest, _ := strings.Cut(strings.TrimPrefix(path, "["), "] ")
	return filepath.Join(r.lab.DatastoreDir(d.VMs[0].Place.Datacenter, ds), strings.TrimSuffix(rest, ".vmdk")+"-flat.vmdk")
}

// sum is the SHA-256 of a file's first bytes.
func (r *rig) sum(file string, bytes int64) string {
	r.Helper()
	f, err := os.Open(file)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(f, bytes)); err != nil || n != bytes {
		r.Fatalf("%s: %d of %d bytes: %v", file, n, bytes, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// intact fails unless every disk exists exactly once in the whole lab, under its UUID, with the bytes that it had; what
// grew kept the beginning.
func (r *rig) intact(what string, disks []imprint) {
	r.Helper()
	found := r.descriptors()
	for _, d := range disks {
		id := plan.SerialOf(d.UUID)
		if len(found[id]) != 1 {
			r.Errorf("%s: disk %s lies in %d files: %v", what, d.UUID, len(found[id]), found[id])
			continue
		}
		if now := r.sum(strings.TrimSuffix(found[id][0], ".vmdk")+"-flat.vmdk", d.Bytes); now != d.Sum {
			r.Errorf("%s: disk %s (%s) has other bytes", what, d.UUID, d.Path)
		}
	}
}

// descriptors are the disk files of all datastores by UUID, as a guest writes it.
func (r *rig) descriptors() map[string][]string {
	r.Helper()
	out := map[string][]string{}
	root := filepath.Dir(filepath.Dir(r.lab.DatastoreDir("DC1", "vm-1")))
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(p) != ".vmdk" || strings.HasSuffix(p, "-flat.vmdk") {
			return err
		}
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(raw)) {
			if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == "ddb.uuid" {
				id := plan.SerialOf(strings.Trim(strings.TrimSpace(v), `"`))
				out[id] = append(out[id], p)
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return out
}

// findable fails unless every disk is where somebody finds it (D5): attached to one VM of the fleet, or named with its
// UUID and path in the record of one; and attached to no more than one (D3). What a VM had that was removed is a file
// that a look at all files lists.
func (r *rig) findable(what string, o plan.Observed, disks []imprint, removal bool) {
	r.Helper()
	for _, d := range disks {
		var holders, records []string
		for _, v := range o.VMs {
			if slices.ContainsFunc(v.Disks, func(x plan.Disk) bool { return x.UUID == d.UUID }) {
				holders = append(holders, v.Name)
			}
			if slices.ContainsFunc(slices.Concat(v.Record.Disks, v.Record.Takes), func(x plan.DiskRecord) bool {
				return plan.SerialOf(x.UUID) == plan.SerialOf(d.UUID) && x.Path == d.Path
			}) {
				records = append(records, v.Name)
			}
		}
		listed := removal && slices.ContainsFunc(o.Files, func(f plan.DiskFile) bool { return f.UUID == d.UUID })
		if len(holders) > 1 || len(holders) == 0 && len(records) == 0 && !listed {
			r.Errorf("%s: disk %s is attached to %v, in the records of %v, listed: %v", what, d.UUID, holders, records, listed)
		}
	}
}
