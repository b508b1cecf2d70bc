package build

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/lkv-io/lkv/build/squashfs"
	"github.com/lkv-io/lkv/internal/manifest"
	"golang.org/x/sys/unix"
)

// writer is the version of everything that turns entries into bytes: raise it when a change here changes
// segments. codec is the compressor's; a test keeps it equal to go.mod. Both are part of every cache key.
const (
	writer = "lkv-segment-3"
	codec  = "klauspost-zstd-v1.19.2"
)

// content is what a component puts into its segment.
type content struct {
	entries []entry
	clamp   int64             // latest modification time, seconds since 1970
	extra   map[string][]byte // files beside the segment, for example the kernel
	image   string            // digest of the image it comes from; empty for what the build makes itself
	bill    *bill             // of that image
	release string            // kernel release, of the kernel component
	modules []string          // the early segment's: absolute paths in the order to load them
	end     []byte            // asCpio: bytes after the last entry
}

// segment is a finished piece of the root file system in the cache.
type segment struct {
	manifest.Segment
	View    view               `json:"view"`
	Extra   map[string]string  `json:"extra"` // name -> sha256
	Release string             `json:"release"`
	Dropped []manifest.Dropped `json:"dropped,omitempty"` // asCpio: attributes it has no place for
	Tree    []named            `json:"tree,omitempty"`    // asPack: what the pack's contents belong to
	Inodes  []metadata         `json:"inodes,omitempty"`
	Pack    *squashfs.Pack     `json:"pack,omitempty"`
	Modules []string           `json:"modules,omitempty"`
	Image   string             `json:"image,omitempty"`
	Bill    *bill              `json:"bill,omitempty"`
	key     string
	path    string
	cached  bool
}

// store keeps segments by the hash of everything they are made from.
type store struct {
	dir   string // with subdirectories segments and tmp
	level zstd.EncoderLevel
	c     *compressor
	pack  sync.Mutex // one pack at a time: each uses all cores
}

func openStore(dir string, level zstd.EncoderLevel) (*store, error) {
	c, err := newCompressor(level, filepath.Join(dir, "tmp"))
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"segments", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open segment cache: %w", err)
		}
	}
	return &store{dir: dir, level: level, c: c}, nil
}

func (s *store) tmp() string { return filepath.Join(s.dir, "tmp") }

func (s *store) path(key, ext string) string { return filepath.Join(s.dir, "segments", key+ext) }

// keyOf hashes the parts so that no two lists of parts give one key.
func keyOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// get returns the segment with that key, made by create when the cache has none that is whole.
func (s *store) get(ctx context.Context, f format, name, key string, create func(context.Context, *spill) (content, error)) (segment, error) {
	key = keyOf(writer, squashfs.Version, codec, s.level.String(), string(f), key)
	if seg, ok := s.find(key); ok {
		seg.Name, seg.cached = name, true
		return seg, nil
	}
	sp, err := newSpill(s.tmp(), f)
	if err != nil {
		return segment{}, err
	}
	defer func() { _ = sp.Close() }() // it has no name any more: closing removes it
	c, err := create(ctx, sp)
	if err != nil {
		return segment{}, err
	}
	if err := sp.flush(); err != nil {
		return segment{}, err
	}
	seg, err := s.make(ctx, key, c, sp)
	if err != nil {
		return segment{}, fmt.Errorf("make segment %s: %w", name, err)
	}
	seg.Name = name
	return seg, nil
}

// find looks a segment up. Its bytes are checked when they are used.
func (s *store) find(key string) (segment, bool) {
	text, err := os.ReadFile(s.path(key, ".json"))
	if err != nil {
		return segment{}, false
	}
	want, data, _ := bytes.Cut(text, []byte("\n"))
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != string(want) {
		return segment{}, false
	}
	seg := segment{key: key, path: s.path(key, ".zst")}
	if json.Unmarshal(data, &seg) != nil {
		return segment{}, false
	}
	if st, err := os.Stat(seg.path); err != nil || st.Size() != seg.Size {
		return segment{}, false
	}
	for name := range seg.Extra {
		if _, err := os.Stat(s.path(key, "."+name)); err != nil {
			return segment{}, false
		}
	}
	s.touch(seg)
	return seg, true
}

// touch marks a segment's files as used now, for Prune. That it fails on a read-only cache does not matter.
func (s *store) touch(seg segment) {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	exts := []string{".zst", ".json"}
	for name := range seg.Extra {
		exts = append(exts, "."+name)
	}
	for _, ext := range exts {
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, s.path(seg.key, ext), now, 0)
	}
}

func (s *store) make(ctx context.Context, key string, c content, sp *spill) (segment, error) {
	seg := segment{key: key, path: s.path(key, ".zst"), View: viewOf(c.entries), Extra: map[string]string{}, Release: c.release, Modules: c.modules, Image: c.image, Bill: c.bill}
	seg.Entries = len(c.entries)
	encode := s.cpio
	if sp.format == asPack {
		encode = s.squash
	}
	err := s.file(seg.path, func(w io.Writer) error {
		sum, n := sha256.New(), &counter{}
		if err := encode(ctx, io.MultiWriter(w, sum, n), c, sp, &seg); err != nil {
			return err
		}
		seg.SHA256, seg.Size = hex.EncodeToString(sum.Sum(nil)), n.n
		return nil
	})
	if err != nil {
		return segment{}, err
	}
	return seg, s.finish(seg, c)
}

// finish writes what lies beside the segment. The JSON comes last: without it the segment does not exist.
func (s *store) finish(seg segment, c content) error {
	for name, data := range c.extra {
		sum := sha256.Sum256(data)
		seg.Extra[name] = hex.EncodeToString(sum[:])
		if err := s.file(s.path(seg.key, "."+name), bytesOf(data)); err != nil {
			return err
		}
	}
	data, err := json.Marshal(seg)
	if err != nil {
		return fmt.Errorf("write segment description: %w", err)
	}
	sum := sha256.Sum256(data) // it holds modes and owners: a flipped bit must not reach an ISO
	return s.file(s.path(seg.key, ".json"), bytesOf(append([]byte(hex.EncodeToString(sum[:])+"\n"), data...)))
}

// extra reads a file that lies beside a segment.
func (s *store) extra(seg segment, name string) ([]byte, error) {
	want, ok := seg.Extra[name]
	if !ok {
		return nil, nil
	}
	data, err := os.ReadFile(s.path(seg.key, "."+name))
	if err != nil {
		return nil, s.drop(seg, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
		return nil, s.drop(seg, fmt.Errorf("its %s has other bytes", name))
	}
	return data, nil
}

// file writes a file of the cache so that it is never seen half-written.
func (s *store) file(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(s.tmp(), "seg-*")
	if err != nil {
		return fmt.Errorf("write segment cache: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<18)
	err = write(w)
	err = errors.Join(err, w.Flush(), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write segment cache: %w", err)
	}
	return nil
}

func bytesOf(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// deviceOf gives each segment a device number of its own.
func deviceOf(key string) [2]uint32 {
	b, err := hex.DecodeString(key[:16])
	if err != nil {
		return [2]uint32{} // keyOf makes hex only
	}
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func hashFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
