package base

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// writeTar writes the tree as a tar stream that depends on nothing but its content: sorted, all times at the epoch,
// numeric owners only, no access times, no extended headers unless a name is too long for the old format.
func (t *tree) writeTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, at := range t.paths() {
		if err := writeEntry(tw, at[1:], t.entries[at]); err != nil {
			return fmt.Errorf("write %s: %w", at, err)
		}
	}
	return tw.Close()
}

// writeEntry writes one entry under a relative name.
func writeEntry(tw *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: name, Mode: int64(e.mode), Uid: e.uid, Gid: e.gid, ModTime: time.Unix(0, 0)}
	switch {
	case e.dir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	default:
		h.Typeflag, h.Size = tar.TypeReg, e.size
	}
	if err := tw.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	r, err := e.open()
	if err != nil {
		return err
	}
	_, err = io.Copy(tw, r)
	return errors.Join(err, r.Close())
}

// layer is the image's only layer, a gzip file on disk. gzip, because LinuxKit's own tools read no other compression.
type layer struct {
	file   string
	size   int64
	digest v1.Hash // of the file
	diffID v1.Hash // of the tar in it
}

// Digest implements v1.Layer.
func (l layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID implements v1.Layer.
func (l layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size implements v1.Layer.
func (l layer) Size() (int64, error) { return l.size, nil }

// MediaType implements v1.Layer.
func (l layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed implements v1.Layer.
func (l layer) Compressed() (io.ReadCloser, error) { return os.Open(l.file) }

// Uncompressed implements v1.Layer.
func (l layer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// writeLayer writes the tree into work as a compressed layer whose file is named by its digest.
func (t *tree) writeLayer(work string) (layer, error) {
	f, err := os.CreateTemp(work, "writing-*")
	if err != nil {
		return layer{}, fmt.Errorf("make layer: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	packed, plain := sha256.New(), sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(f, packed), 1<<20)
	zw, err := gzip.NewWriterLevel(buf, gzip.BestSpeed)
	if err != nil {
		return layer{}, errors.Join(fmt.Errorf("make layer: %w", err), f.Close())
	}
	err = errors.Join(t.writeTar(io.MultiWriter(zw, plain)), zw.Close(), buf.Flush())
	info, statErr := f.Stat()
	if err := errors.Join(err, statErr, f.Close()); err != nil {
		return layer{}, fmt.Errorf("make layer: %w", err)
	}
	l := layer{size: info.Size(), digest: hashOf(packed), diffID: hashOf(plain)}
	l.file = filepath.Join(work, "layer-"+l.digest.Hex+".tar.gz")
	if err := os.Rename(f.Name(), l.file); err != nil {
		return layer{}, fmt.Errorf("keep layer: %w", err)
	}
	return l, nil
}

// hashOf is the sum in the registry's notation.
func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// image turns the tree into an OCI image.
func (t *tree) image(c Component, o Options) (v1.Image, error) {
	l, err := t.writeLayer(o.WorkDir)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: o.Epoch}
	if o.Epoch.IsZero() {
		created.Time = time.Unix(0, 0)
	}
	created.Time = created.UTC()
	history := v1.History{Created: created, CreatedBy: "lkv images build " + c.Name}
	if img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: history}); err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", "amd64", created
	if cfg.Config, err = c.config(t.labels); err != nil {
		return nil, err
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, fmt.Errorf("write image configuration: %w", err)
	}
	return mutate.Annotations(img, t.labels).(v1.Image), nil
}

// config is the image's run configuration with the labels and LinuxKit's label.
func (c Component) config(labels map[string]string) (v1.Config, error) {
	cfg := v1.Config{Entrypoint: c.def.Entrypoint, Cmd: c.def.Command, Env: c.def.Env, Labels: map[string]string{}}
	if len(cfg.Env) == 0 && len(cfg.Entrypoint)+len(cfg.Cmd) > 0 {
		cfg.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	for k, v := range labels {
		cfg.Labels[k] = v
	}
	cfg.Labels["org.opencontainers.image.title"] = "lkv/" + c.Name
	cfg.Labels["org.opencontainers.image.description"] = c.Description
	if c.def.LinuxKit != nil {
		text, err := json.Marshal(c.def.LinuxKit)
		if err != nil {
			return v1.Config{}, fmt.Errorf("write label %s: %w", LinuxKitLabel, err)
		}
		cfg.Labels[LinuxKitLabel] = string(text)
	}
	return cfg, nil
}
