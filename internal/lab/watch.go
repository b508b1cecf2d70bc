package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// watch remembers what must never happen to a data disk. A data disk is one that was made by CreateVirtualDisk_Task:
// a disk that exists without any VM.
type watch struct {
	mu         sync.Mutex
	disks      map[string]*watched // local path of the descriptor
	violations []string
}

type watched struct {
	store  *store
	path   string // datastore path
	uuid   string
	bytes  int64
	digest string // of the first MiBs after a paper guest formatted it; empty before, and for real guests
	boot   string // boot ID of the guest that formatted it
}

// patterned is how much of a disk a paper guest writes, and the watch compares.
const patterned = 2 * mib

func (w *watch) start() { w.disks = map[string]*watched{} }

func (w *watch) add(s *store, path, local string, bytes int64) {
	d := &watched{store: s, path: path, bytes: bytes}
	if desc, err := readDisk(local); err == nil {
		d.uuid = desc.DDB[ddbUUID]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disks[local] = d
}

// below tells whether the path is a data disk or a directory with one.
func (w *watch) below(local string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := range w.disks {
		if rel, err := filepath.Rel(local, d); err == nil && filepath.IsLocal(rel) || flat(d) == local {
			return true
		}
	}
	return false
}

// move follows a data disk whose files were moved.
func (w *watch) move(from string, s *store, path, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.disks[from]; d != nil {
		delete(w.disks, from)
		d.store, d.path = s, path
		w.disks[to] = d
	}
}

func (w *watch) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

// formatted notes that a guest has formatted the disk with that serial number, and what a paper guest wrote.
// The second time is a violation: whatever was on the disk is lost.
func (w *watch) formatted(number string, paper bool, boot string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for local, d := range w.disks {
		if serial(dashed(d.uuid)) != number {
			continue
		}
		if d.boot != "" && d.boot != boot {
			w.violations = append(w.violations, "data disk "+d.path+" was formatted again")
		}
		d.boot = boot
		if paper && d.digest == "" {
			d.digest, _ = digestOf(flat(local)) // check finds an unreadable file
		}
	}
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, patterned)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// Invariants checks every data disk this lab has seen: the file exists, UUID and capacity are what they were (capacity
// may grow), the bytes a paper guest wrote are still there, at most one VM has it, and no call asked for its
// destruction. The error names every violation; nil: none.
func (l *Lab) Invariants() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	vs := l.all()
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	var errs []error
	for _, v := range l.watch.violations {
		errs = append(errs, errors.New(v))
	}
	for local, d := range l.watch.disks {
		if err := d.check(local); err != nil {
			errs = append(errs, fmt.Errorf("data disk %s: %w", d.path, err))
		}
		var users []string
		for _, v := range vs {
			if v.dc == d.store.dc && slices.ContainsFunc(v.disks, func(x diskView) bool { return l.under(v.dc, x.path, local) }) {
				users = append(users, v.name)
			}
		}
		if len(users) > 1 {
			errs = append(errs, fmt.Errorf("data disk %s is attached to %q", d.path, users))
		}
	}
	return errors.Join(errs...)
}

func (d *watched) check(local string) error {
	desc, err := readDisk(local)
	if err != nil {
		return err
	}
	info, err := os.Stat(flat(local))
	if err != nil {
		return err
	}
	var errs []error
	if desc.DDB[ddbUUID] != d.uuid {
		errs = append(errs, fmt.Errorf("UUID was %s and is %s", d.uuid, desc.DDB[ddbUUID]))
	}
	if info.Size() < d.bytes || info.Size() != desc.Capacity() {
		errs = append(errs, fmt.Errorf("%d bytes, descriptor says %d, it had %d", info.Size(), desc.Capacity(), d.bytes))
	}
	d.bytes = max(d.bytes, info.Size())
	if d.digest != "" {
		now, err := digestOf(flat(local))
		if err == nil && now != d.digest {
			err = errors.New("its bytes have changed")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
