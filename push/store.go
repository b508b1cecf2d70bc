// Package push brings an ISO to the stores that VMs boot from. It knows a small interface, not vSphere.
//
// A store keeps, below its folder:
//
//	<image>/<sha256>.iso               immutable; the name is the digest of the bytes
//	<image>/<sha256>.manifest.json     in place before the ISO, so an ISO without manifest is never picked
//	<image>/channels/<channel>.json    Channel: which digest is current; moved last
//	<image>/<any of these>.lkv-part-*  an upload under way, or the rest of a broken one; never read
//
// Nothing appears under a final name before its size and digest were read back. Not supported: several pushes of
// one channel at the same moment (the last one wins), and removing old ISOs.
package push

import (
	"context"
	"io"
	"io/fs"
)

// Reader reads a store. Paths are relative to the store's folder and use slashes. A file or folder that is
// certainly not there is fs.ErrNotExist; every other error means that nothing is known.
type Reader interface {
	// Stat returns size and modification time of one file.
	Stat(ctx context.Context, path string) (fs.FileInfo, error)
	// Open streams one file.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
	// List returns the files of one folder.
	List(ctx context.Context, dir string) ([]fs.FileInfo, error)
}

// Writer changes a store. Only temporary names (see IsTemporary) are ever given to Put and Delete.
type Writer interface {
	// Mkdir makes a folder and its parents; one that exists is fine.
	Mkdir(ctx context.Context, dir string) error
	// Put writes exactly size bytes of r to path.
	Put(ctx context.Context, path string, r io.Reader, size int64) error
	// Move renames a file. With overwrite false an existing target is fs.ErrExist.
	Move(ctx context.Context, from, to string, overwrite bool) error
	// Delete removes one file.
	Delete(ctx context.Context, path string) error
}

// Store is one place for ISOs.
type Store interface {
	Reader
	Writer
	// Name is the store's name in lkv.hcl.
	Name() string
	// Path returns a path the way vCenter writes it, for example "[iso-nfs] lkv/worker/0123.iso".
	Path(path string) string
	// Free returns the free bytes, or a negative number when the store does not say.
	Free(ctx context.Context) (int64, error)
}
