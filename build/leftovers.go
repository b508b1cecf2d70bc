package build

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// unfinished is what an ISO is called while it is written.
const unfinished = ".lkv-*.iso"

// startISO makes the file for an ISO, and removes what builds left in the directory that were killed: files nobody
// holds a lock on and that are not just about to get one.
func startISO(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, unfinished)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return f, nil // a file system without locks: then nothing is known to be left over either
	}
	st, err := f.Stat()
	if err != nil {
		return f, nil
	}
	old, _ := filepath.Glob(filepath.Join(dir, unfinished)) // the pattern is well-formed
	for _, name := range old {
		if name != f.Name() {
			removeLeftover(name, st.ModTime().Add(-time.Minute))
		}
	}
	return f, nil
}

// removeLeftover removes a file that was last written before then and that nobody has locked. That it cannot be
// removed does not matter.
func removeLeftover(name string, then time.Time) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || st.ModTime().After(then) {
		return
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = os.Remove(name)
	}
}
