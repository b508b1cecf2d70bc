package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lkv-io/lkv/internal/manifest"
)

// How an ISO came to a store.
const (
	Uploaded = "upload"
	Already  = "present"
)

// atOnce is how many stores are served at the same time.
const atOnce = 4

// Input is one push, complete: nothing else is read.
type Input struct {
	Image    string // name of the image block
	ISO      string // path of the ISO on this machine
	Manifest []byte // the manifest as lkv build wrote it
	Stores   []Store
	Channel  string         // channel that is moved afterwards; empty: none
	Verify   bool           // read an ISO that is already there, whole, and check its digest
	Owner    string         // who pushes, stable over runs (host name and directory): its leftovers are removed
	Nonce    string         // random, different for every push
	Now      time.Time      // written into the channel
	Progress func(Progress) // may be nil; called from several goroutines
}

// Progress is how far one store is.
type Progress struct {
	Store string
	Phase string // "upload" or "verify"
	Done  int64  // bytes
	Total int64  // bytes
}

// Result is what happened on one store.
type Result struct {
	Image         string `json:"image"`
	Store         string `json:"store"`
	Path          string `json:"path"`   // "[ds] lkv/worker/<sha256>.iso"
	SHA256        string `json:"sha256"` // 64 hex digits
	BytesUploaded int64  `json:"bytes_uploaded"`
	How           string `json:"how"` // Uploaded or Already
}

// Push brings the ISO and its manifest to every store and then, only when every store has it, moves the channel on
// each. Results are in the order of the stores; on an error they hold what was done. An ISO that is there already is
// not uploaded again.
func Push(ctx context.Context, in Input) ([]Result, error) {
	m, err := in.check()
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(in.Stores))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, s := range in.Stores {
		group.Go(func() error {
			var err error
			if results[i], err = in.toStore(gctx, s, m); err != nil {
				return fmt.Errorf("push %s to store %s: %w", in.Image, s.Name(), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return done(results), err
	}
	if in.Channel == "" {
		return results, nil
	}
	for _, s := range in.Stores {
		if err := in.moveChannel(ctx, s, m.ISO.SHA256); err != nil {
			return results, fmt.Errorf("move channel %s of %s on store %s: %w", in.Channel, in.Image, s.Name(), err)
		}
	}
	return results, nil
}

// done keeps the results of the stores that have the ISO.
func done(all []Result) []Result {
	var some []Result
	for _, r := range all {
		if r.How != "" {
			some = append(some, r)
		}
	}
	return some
}

// check reads the manifest and refuses what would only fail after a long upload.
func (in Input) check() (manifest.Manifest, error) {
	if err := checkName("image", in.Image); err != nil {
		return manifest.Manifest{}, err
	}
	if in.Channel != "" {
		if err := checkName("channel", in.Channel); err != nil {
			return manifest.Manifest{}, err
		}
	}
	m, err := manifest.Read(bytes.NewReader(in.Manifest))
	if err != nil {
		return m, fmt.Errorf("push %s: %w", in.Image, err)
	}
	if !isDigest(m.ISO.SHA256) {
		return m, fmt.Errorf("push %s: manifest has digest %q, want 64 hex digits: build the image again", in.Image, m.ISO.SHA256)
	}
	info, err := os.Stat(in.ISO)
	if err != nil {
		return m, fmt.Errorf("push %s: %w: run lkv build first", in.Image, err)
	}
	if info.Size() != m.ISO.Size {
		return m, fmt.Errorf("push %s: %s has %d bytes, its manifest says %d: build the image again", in.Image, in.ISO, info.Size(), m.ISO.Size)
	}
	return m, nil
}

// toStore makes sure that one store has manifest and ISO, in this order.
func (in Input) toStore(ctx context.Context, s Store, m manifest.Manifest) (Result, error) {
	final := ISOPath(in.Image, m.ISO.SHA256)
	res := Result{Image: in.Image, Store: s.Name(), Path: s.Path(final), SHA256: m.ISO.SHA256}
	if err := in.sweep(ctx, s, in.Image); err != nil {
		return res, err
	}
	there, err := in.present(ctx, s, m)
	if err != nil {
		return res, err
	}
	if !there {
		if err := in.room(ctx, s, m.ISO.Size); err != nil {
			return res, err
		}
	}
	if err := in.putSmall(ctx, s, ManifestPath(in.Image, m.ISO.SHA256), in.Manifest); err != nil {
		return res, err
	}
	if there {
		res.How = Already
		return res, nil
	}
	n, err := in.upload(ctx, s, m, final)
	if err != nil {
		return res, err
	}
	res.BytesUploaded, res.How = n, Uploaded
	if n == 0 {
		res.How = Already
	}
	return res, nil
}

// present tells whether the ISO is on the store. A file under that name with another size or digest was not put
// there by lkv, or was damaged since: it may be what VMs boot from, so it is not overwritten.
func (in Input) present(ctx context.Context, s Store, m manifest.Manifest) (bool, error) {
	final := ISOPath(in.Image, m.ISO.SHA256)
	info, err := s.Stat(ctx, final)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", s.Path(final), err)
	}
	if info.Size() != m.ISO.Size {
		return false, fmt.Errorf("%s is there with %d bytes instead of %d: a damaged file that VMs may use; move it away, then push again",
			s.Path(final), info.Size(), m.ISO.Size)
	}
	if in.Verify {
		if err := in.readBack(ctx, s, final, m.ISO); err != nil {
			return false, fmt.Errorf("%w: a damaged file that VMs may use; move it away, then push again", err)
		}
	}
	return true, nil
}

// moveChannel points the channel at the digest. The new file replaces the old one in one move.
func (in Input) moveChannel(ctx context.Context, s Store, digest string) error {
	old, err := ReadChannel(ctx, s, in.Image, in.Channel)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old.Digest == digest {
		return nil
	}
	raw, err := json.MarshalIndent(old.to(digest, in.Now), "", "  ")
	if err != nil {
		return err
	}
	final := ChannelPath(in.Image, in.Channel)
	dir := in.Image + "/channels"
	if err := in.sweep(ctx, s, dir); err != nil {
		return err
	}
	return in.putSmall(ctx, s, final, append(raw, '\n'))
}
