package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
)

// memory is a store in memory that fails where a test says. It refuses what a Store never does.
type memory struct {
	mu    sync.Mutex
	name  string
	files map[string][]byte
	times map[string]time.Time
	dirs  map[string]bool
	free  int64
	ops   []string                 // mutating ones
	fail  func(op, p string) error // asked before every operation
	cut   int64                    // a Put breaks after so many bytes; 0: it does not
	wire  int64                    // bytes that came by Put for ISOs
	spoil bool                     // a Put stores wrong bytes
}

func newMemory(name string) *memory {
	return &memory{name: name, files: map[string][]byte{}, times: map[string]time.Time{}, dirs: map[string]bool{"": true}, free: 1 << 40}
}

var errBroken = errors.New("broken on purpose")

func (m *memory) begin(op, p string, mutates bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mutates {
		m.ops = append(m.ops, op+" "+p)
	}
	if m.fail != nil {
		return m.fail(op, p)
	}
	return nil
}

func (m *memory) Name() string         { return m.name }
func (m *memory) Path(p string) string { return "[" + m.name + "] lkv/" + p }

func (m *memory) Stat(_ context.Context, p string) (fs.FileInfo, error) {
	if err := m.begin("stat", p, false); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[p]
	if !ok {
		return nil, fmt.Errorf("stat %s: %w", p, fs.ErrNotExist)
	}
	return info{path.Base(p), int64(len(b)), m.times[p]}, nil
}

func (m *memory) List(_ context.Context, dir string) ([]fs.FileInfo, error) {
	if err := m.begin("list", dir, false); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return nil, fs.ErrNotExist
	}
	var list []fs.FileInfo
	for p, b := range m.files {
		if path.Dir(p) == dir {
			list = append(list, info{path.Base(p), int64(len(b)), m.times[p]})
		}
	}
	return list, nil
}

func (m *memory) Open(_ context.Context, p string) (io.ReadCloser, error) {
	if err := m.begin("open", p, false); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m *memory) Mkdir(_ context.Context, dir string) error {
	if err := m.begin("mkdir", dir, true); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		m.dirs[dir] = true
	}
	return nil
}

func (m *memory) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	if !IsTemporary(p) {
		panic("put under a final name: " + p)
	}
	if err := m.begin("put", p, true); err != nil {
		return err
	}
	broken := m.cut > 0 && size > m.cut
	if broken {
		r = io.LimitReader(r, m.cut)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[path.Dir(p)] {
		return errors.New("no such folder")
	}
	if strings.Contains(p, ".iso.") {
		m.wire += int64(len(b))
	}
	if err = ctx.Err(); broken {
		err = errBroken
	}
	if m.spoil {
		b = bytes.Repeat([]byte{'x'}, len(b))
	}
	m.files[p], m.times[p] = b, now
	if err == nil && int64(len(b)) != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (m *memory) Move(_ context.Context, from, to string, overwrite bool) error {
	if !IsTemporary(from) || IsTemporary(to) {
		panic("move of a final name: " + from)
	}
	if err := m.begin("move", to, true); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.files[to]; there && !overwrite {
		return fs.ErrExist
	}
	b, ok := m.files[from]
	if !ok {
		return fs.ErrNotExist
	}
	delete(m.files, from)
	m.files[to], m.times[to] = b, now
	return nil
}

func (m *memory) Delete(ctx context.Context, p string) error {
	if !IsTemporary(p) {
		panic("delete of a final name: " + p)
	}
	if err := errors.Join(m.begin("delete", p, true), ctx.Err()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[p]; !ok {
		return fs.ErrNotExist
	}
	delete(m.files, p)
	return nil
}

func (m *memory) Free(context.Context) (int64, error) { return m.free, m.begin("free", "", false) }

type info struct {
	name string
	size int64
	at   time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.at }
func (i info) IsDir() bool        { return false }
func (i info) Mode() fs.FileMode  { return 0o644 }
func (i info) Sys() any           { return nil }

var now = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// build makes an ISO of that content and a push of it.
func build(t *testing.T, content string, stores ...Store) (Input, string) {
	t.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	iso := filepath.Join(t.TempDir(), "worker.iso")
	if err := os.WriteFile(iso, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	m := manifest.Manifest{Format: manifest.Format, Image: "worker", ID: "sha256:" + sum, ISO: manifest.File{SHA256: sum, Size: int64(len(content))}}
	if err := m.Write(&raw); err != nil {
		t.Fatal(err)
	}
	return Input{Image: "worker", ISO: iso, Manifest: raw.Bytes(), Stores: stores, Channel: "latest", Owner: "ci", Nonce: content, Now: now}, sum
}
