// Package push brings an ISO to the stores that VMs boot from. It knows a small interface, not vSphere.
//
// A store keeps, below its folder:
//
//	<image>/<sha256>.iso               immutable; the name is the digest of the bytes
//	<image>/<sha256>.manifest.json     in place before the ISO, so an ISO without manifest is never picked
//	<image>/<sha256>.spdx.json ...     SBOMs, provenance and signatures, in place before the manifest
//	<image>/channels/<channel>.json    Channel: which digest is current; moved last
//	<image>/<any of these>.lkv-part-*  an upload under way, or the rest of a broken one; never read
//
// Nothing appears under a final name before it was verified there. Not supported: several pushes of one channel at
// the same moment (the last one wins).
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
	// Put writes exactly size bytes of r to path, in place of what a broken Put left there.
	Put(ctx context.Context, path string, r io.Reader, size int64) error
	// Move renames a file. With overwrite false an existing target is fs.ErrExist.
	Move(ctx context.Context, from, to string, overwrite bool) error
	// Delete removes one file.
	Delete(ctx context.Context, path string) error
}

// Store is one place for ISOs. An error that may be gone a moment later wraps ErrTemporary or has a method
// Temporary() bool that returns true; such a call is made again.
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

// Copier is a Store that can take a file from another store without a byte passing through this machine. The other
// one is a Store too; it is an any so that a store need not know this package.
type Copier interface {
	// CanCopyFrom tells whether src is within reach, for example behind the same vCenter. It asks nobody.
	CanCopyFrom(src any) bool
	// CopyFrom copies the file from of src to the temporary name to of this store, which does not exist.
	CopyFrom(ctx context.Context, src any, from, to string) error
}

// RangeReader is a Store that can read a part of a file.
type RangeReader interface {
	// OpenRange streams n bytes of a file, beginning at offset off.
	OpenRange(ctx context.Context, path string, off, n int64) (io.ReadCloser, error)
}

// Users is a Store that knows which VMs use its files.
type Users interface {
	// UsedFiles maps the path of every file that a VM names, whatever its state and whether or not it is a template,
	// to the VM's name; VMs of every datacenter that mounts the datastore count. When anything could not be read it
	// is an error. Files that are not the store's may be in the map.
	UsedFiles(ctx context.Context) (map[string]string, error)
}

// Remover is a Store that can remove an ISO and what lies beside it. It is asked for nothing but names made of a
// digest and a known ending; see Clean.
type Remover interface {
	Remove(ctx context.Context, path string) error
}
