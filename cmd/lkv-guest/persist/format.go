package persist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// errUnsound says that a file system was looked at and is not complete; any other error says that nobody knows.
var errUnsound = errors.New("incomplete file system")

// spanOf is what a file system on a whole disk may take: all but the tail, in full MiB.
func spanOf(size int64) int64 { return (size - tail) / (1 << 20) * (1 << 20) }

// Format makes the file system on a disk that Decide chose, so that a power cut at any point is harmless:
// look again through the descriptor that writes, note, mkfs, check, remove the note.
func (p Persist) Format(ctx context.Context, w Want, f Found, id string) error {
	n := Note{Serial: f.Serial(), Size: f.Size, Label: w.Label, UUID: id, Filesystem: w.Filesystem}
	if err := p.writeNote(f, n); err != nil {
		return fmt.Errorf("format %s: %w", f.Node, err)
	}
	if err := p.mkfs(ctx, w, f, id); err != nil {
		return fmt.Errorf("format %s: %w", f.Node, err)
	}
	if err := p.settle(ctx, w, f, id); err != nil {
		return fmt.Errorf("format %s: %w", f.Node, err)
	}
	return nil
}

// writeNote opens the disk exclusively, which the kernel refuses while anything uses it, looks once more, and writes.
func (p Persist) writeNote(f Found, n Note) error {
	block, err := n.encode()
	if err != nil {
		return err
	}
	dev, err := os.OpenFile(f.Node, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("open for writing: %w", err)
	}
	defer func() { _ = dev.Close() }()
	if f.Note == nil {
		at, err := NotBlank(dev, f.Size, -1)
		if err != nil {
			return err
		}
		if at >= 0 {
			return fmt.Errorf("it is no longer blank (byte %d): somebody else writes to it; nothing was changed", at)
		}
	}
	if _, err := dev.WriteAt(block, notePlace(f.Size)); err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	return nil
}

// mkfs runs the maker with an explicit size and file system UUID. Nothing is discarded: the disk is zero already,
// and on thick disks it would take long.
func (p Persist) mkfs(ctx context.Context, w Want, f Found, id string) error {
	span := spanOf(f.Size)
	name, args := "mke2fs", []string{"-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-E", "nodiscard,lazy_itable_init=1",
		"-L", w.Label, "-U", id, f.Node, strconv.FormatInt(span/4096, 10)}
	if w.Filesystem == "xfs" {
		name, args = "mkfs.xfs", []string{"-q", "-f", "-K", "-L", w.Label, "-m", "uuid=" + id,
			"-d", "size=" + strconv.FormatInt(span, 10), f.Node}
	}
	out, code, err := p.Run(ctx, name, args...)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s: exit status %d: %s", name, code, lastLine(out))
	}
	return nil
}

// settle proves that the fresh file system is complete, then removes the note.
func (p Persist) settle(ctx context.Context, w Want, f Found, id string) error {
	dev, err := os.OpenFile(f.Node, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = dev.Close() }()
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	s, ok, err := ReadSuper(dev)
	if err != nil {
		return err
	}
	if !ok || s.Type != w.Filesystem || s.Label != w.Label || s.UUID != id {
		return fmt.Errorf("%w: what mkfs left is not what it was asked for", errUnsound)
	}
	if err := p.verify(ctx, w.Filesystem, f.Node); err != nil {
		return err
	}
	return eraseNote(dev, f.Size)
}

func eraseNote(dev *os.File, size int64) error {
	if _, err := dev.WriteAt(bytes.Repeat([]byte{0}, sample), notePlace(size)); err != nil {
		return fmt.Errorf("remove note: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("remove note: %w", err)
	}
	return nil
}

// verify checks without changing anything.
func (p Persist) verify(ctx context.Context, filesystem, node string) error {
	name, args := "e2fsck", []string{"-f", "-n", node}
	if filesystem == "xfs" {
		name, args = "xfs_repair", []string{"-n", node}
		if !p.block(node) {
			args = []string{"-n", "-f", node} // a regular file, in tests
		}
	}
	out, code, err := p.Run(ctx, name, args...)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%w: %s: exit status %d: %s", errUnsound, name, code, lastLine(out))
	}
	return nil
}

func (p Persist) block(node string) bool {
	st, err := os.Stat(node)
	return err == nil && st.Mode()&os.ModeDevice != 0
}

// finish brings a disk whose note is still there to its end: a complete file system loses the note, an incomplete
// one that was never mounted is made again, under the UUID already noted: between a new note and the end of the old
// superblock a power cut would leave a disk that looks like somebody else's. It tells whether it formatted.
func (p Persist) finish(ctx context.Context, w Want, f Found) (formatted bool, err error) {
	if f.Note.UUID != f.Super.UUID {
		return false, fmt.Errorf("%s: a note says that file system %s was being made here, but it holds %s: somebody else wrote to it; check it by hand", f.Node, f.Note.UUID, f.Super.UUID)
	}
	unsound := p.settle(ctx, w, f, f.Note.UUID)
	switch {
	case unsound == nil:
		return false, nil
	case !errors.Is(unsound, errUnsound):
		return false, fmt.Errorf("%s: %w", f.Node, unsound)
	case !f.Super.Fresh:
		return false, fmt.Errorf("%s: was mounted before, so it is not formatted again: %w", f.Node, unsound)
	}
	return true, p.Format(ctx, w, f, f.Note.UUID)
}

// fsck repairs what is safe to repair without asking. xfs replays its log when it is mounted and needs no check.
func (p Persist) fsck(ctx context.Context, filesystem, node string) error {
	if filesystem != "ext4" {
		return nil
	}
	out, code, err := p.Run(ctx, "e2fsck", "-p", node)
	if err != nil {
		return fmt.Errorf("check %s: %w", node, err)
	}
	if code >= 4 {
		return fmt.Errorf("%s: the file system has errors that need a decision (e2fsck: exit status %d: %s): it is not mounted; save a snapshot, then run e2fsck by hand", node, code, lastLine(out))
	}
	return nil
}
