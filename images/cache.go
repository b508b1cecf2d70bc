package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Annotations of an entry in the cache's index.
const (
	refName   = "org.opencontainers.image.ref.name" // canonical reference
	fromIndex = "io.lkv.index"                      // digest of the index the image was picked from
)

// Cache is an OCI layout directory: blobs by digest, and an index.json that gives them references. Several
// processes may use one cache at the same time.
type Cache struct {
	dir   string
	blobs blobs
}

// Entry is one image in the cache.
type Entry struct {
	Ref      string      `json:"ref"`      // canonical reference
	Platform v1.Platform `json:"platform"` // OS and architecture
	Digest   v1.Hash     `json:"digest"`   // of the image's manifest
	Index    v1.Hash     `json:"index"`    // of the index it was picked from; zero when there was none
	Size     int64       `json:"size"`     // config and layers, bytes
	Used     time.Time   `json:"used"`     // when it was last used or stored
}

// OpenCache opens the cache in dir and makes an empty one where there is none.
func OpenCache(dir string) (*Cache, error) {
	c := &Cache{dir: dir, blobs: blobs{filepath.Join(dir, "blobs")}}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	layout := filepath.Join(dir, "oci-layout")
	if _, err := os.Stat(layout); errors.Is(err, fs.ErrNotExist) {
		if err := replaceFile(layout, []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n")); err != nil {
			return nil, fmt.Errorf("open image cache: %w", err)
		}
	}
	if _, err := c.index(); err != nil {
		return nil, fmt.Errorf("open image cache %s: %w", dir, err)
	}
	return c, nil
}

// Dir returns the cache's directory.
func (c *Cache) Dir() string { return c.dir }

// Put stores img under ref for the platform its config names (linux/amd64 when it names none), replacing what
// had that reference and platform, and returns the digest of its manifest. The blobs are complete and verified
// before the index names them.
func (c *Cache) Put(ctx context.Context, ref string, img v1.Image) (v1.Hash, error) {
	canonical, err := Canonical(ref)
	if err != nil {
		return v1.Hash{}, err
	}
	h, err := c.put(ctx, canonical, img)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	return h, nil
}

func (c *Cache) put(ctx context.Context, canonical string, img v1.Image) (v1.Hash, error) {
	unlock, err := c.lock(ctx, blobsLock, shared)
	if err != nil {
		return v1.Hash{}, err
	}
	defer unlock()
	if err := c.store(ctx, img); err != nil {
		return v1.Hash{}, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("read manifest: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("read config: %w", err)
	}
	h := digestOf(raw)
	return h, c.record(ctx, Entry{Ref: canonical, Platform: platformOf(cf), Digest: h})
}

// platformOf is what a config says, linux/amd64 where it says nothing.
func platformOf(cf *v1.ConfigFile) v1.Platform {
	p := v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant}
	if p.OS == "" {
		p.OS = "linux"
	}
	if p.Architecture == "" {
		p.Architecture = "amd64"
	}
	return p
}

// record puts an image whose blobs are stored into the index, in place of what had its reference and platform.
func (c *Cache) record(ctx context.Context, e Entry) error {
	doc, err := c.document(e.Digest)
	if err != nil {
		return err
	}
	if err := c.used(e.Digest); err != nil {
		return err
	}
	ann := map[string]string{refName: e.Ref}
	if e.Index != (v1.Hash{}) {
		ann[fromIndex] = e.Index.String()
	}
	desc := v1.Descriptor{MediaType: doc.mediaType, Size: int64(len(doc.raw)), Digest: e.Digest, Platform: &e.Platform, Annotations: ann}
	return c.update(ctx, func(m *v1.IndexManifest) {
		var rest []v1.Descriptor
		for _, d := range m.Manifests {
			switch {
			case d.Annotations[refName] != e.Ref || !samePlatform(d.Platform, desc.Platform):
				rest = append(rest, d)
			case d.Digest != e.Digest && !local(e.Ref):
				rest = append(rest, byDigest(d))
			}
		}
		m.Manifests = append(rest, desc)
	})
}

// byDigest gives an image that lost its reference to a newer one the reference with its digest: a lock file may
// still pin it, and it can be listed and pruned by age. Components are not kept: people build them over and over.
func byDigest(d v1.Descriptor) v1.Descriptor {
	repo := d.Annotations[refName]
	if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
		repo = repo[:i]
	}
	d.Annotations = maps.Clone(d.Annotations)
	d.Annotations[refName] = repo + "@" + d.Digest.String()
	return d
}

// used notes that an image is used now. The time is the kernel's, on the file of the manifest.
func (c *Cache) used(h v1.Hash) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	err := unix.UtimesNanoAt(unix.AT_FDCWD, c.blobs.path(h), now, 0)
	if err != nil && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("note the use of image %s: %w", h, err)
	}
	return nil // a cache that may only be read is no reason not to read it
}

// Local says whether an entry is one of lkv's own components, which only lkv images build makes.
func (e Entry) Local() bool { return local(e.Ref) }

// Find returns the image stored under ref for the platform. ok is false when there is none.
func (c *Cache) Find(ref string, p v1.Platform) (img v1.Image, e Entry, ok bool, err error) {
	canonical, err := Canonical(ref)
	if err != nil {
		return nil, Entry{}, false, err
	}
	list, err := c.List()
	if err != nil {
		return nil, Entry{}, false, err
	}
	for _, e := range list {
		if e.Ref == canonical && samePlatform(&e.Platform, &p) {
			img, err := c.image(e.Digest)
			return img, e, err == nil, err
		}
	}
	return nil, Entry{}, false, nil
}

// List returns every image of the cache in the order of reference and platform.
func (c *Cache) List() ([]Entry, error) {
	m, err := c.index()
	if err != nil {
		return nil, fmt.Errorf("list image cache: %w", err)
	}
	var out []Entry
	for _, d := range m.Manifests {
		e := entryOf(d)
		e.Size = c.weigh(d.Digest)
		if st, err := os.Stat(c.blobs.path(d.Digest)); err == nil {
			e.Used = st.ModTime().UTC()
		}
		if e.Ref != "" {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		if n := strings.Compare(a.Ref, b.Ref); n != 0 {
			return n
		}
		return strings.Compare(a.Platform.String(), b.Platform.String())
	})
	return out, nil
}

func entryOf(d v1.Descriptor) Entry {
	e := Entry{Ref: d.Annotations[refName], Digest: d.Digest}
	if d.Platform != nil {
		e.Platform = *d.Platform
	}
	if h, err := v1.NewHash(d.Annotations[fromIndex]); err == nil {
		e.Index = h
	}
	return e
}

// key tells entries of one cache apart.
func (e Entry) key() string { return e.Ref + " " + e.Platform.String() + " " + e.Digest.String() }

// weigh is the size of an image's config and layers, 0 when its manifest is missing.
func (c *Cache) weigh(digest v1.Hash) int64 {
	m, err := c.manifest(digest)
	if err != nil {
		return 0
	}
	n := m.Config.Size
	for _, l := range m.Layers {
		n += l.Size
	}
	return n
}

func (c *Cache) index() (*v1.IndexManifest, error) {
	m := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	data, err := os.ReadFile(filepath.Join(c.dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read index.json (delete it to start with an empty cache): %w", err)
	}
	return m, nil
}

// update rewrites index.json under a lock; readers see the old one or the new one.
func (c *Cache) update(ctx context.Context, change func(*v1.IndexManifest)) error {
	unlock, err := c.lock(ctx, indexLock, exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	m, err := c.index()
	if err != nil {
		return err
	}
	change(m)
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return replaceFile(filepath.Join(c.dir, "index.json"), append(data, '\n'))
}

// ParsePlatform reads "os/arch" or "os/arch/variant".
func ParsePlatform(text string) (v1.Platform, error) {
	p, err := v1.ParsePlatform(text)
	if err == nil && (p.OS == "" || p.Architecture == "" || p.OSVersion != "") {
		err = errors.New("write it as linux/amd64")
	}
	if err != nil {
		return v1.Platform{}, fmt.Errorf("parse platform %q: %w", text, err)
	}
	return *p, nil
}

func samePlatform(a, b *v1.Platform) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.OS == b.OS && a.Architecture == b.Architecture && (a.Variant == b.Variant || a.Variant == "" || b.Variant == "")
}
