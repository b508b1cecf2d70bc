package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Keep is how many journals a directory keeps.
const Keep = 200

// named is what CreateIn names a journal: names sort by time.
var named = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-z]+\.jsonl$`)

// CreateIn makes a journal in a directory, which is made when it is missing, and removes the oldest ones there beyond
// Keep. Other files in the directory are left alone. Nonce is of digits and small letters.
func CreateIn(dir, nonce string, h Head, now func() time.Time) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of journals: %w", err)
	}
	w, err := Create(filepath.Join(dir, now().UTC().Format("20060102T150405Z")+"-"+nonce+".jsonl"), h, now)
	if err != nil {
		return nil, err
	}
	if err := prune(dir, Keep); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// prune removes the oldest journals until keep are left.
func prune(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list journals: %w", err)
	}
	var names []string
	for _, e := range entries {
		if named.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, n := range names[:max(0, len(names)-keep)] {
		if err := os.Remove(filepath.Join(dir, n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old journal: %w", err)
		}
	}
	return nil
}

// Discard closes a journal and removes it.
func (w *Writer) Discard() error {
	err := w.Close()
	if rerr := os.Remove(w.path); rerr != nil {
		err = errors.Join(err, fmt.Errorf("remove an empty journal: %w", rerr))
	}
	return err
}
