package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"time"
)

// Cleaning removes ISOs that nobody names any more.
type Cleaning struct {
	Images    []string // whose ISOs are looked at
	Stores    []Store  // all that share anything: what one names is kept on every one
	Keep      []string // digests that are kept besides, for example those that fleets name
	OlderThan time.Duration
	Now       time.Time
	DryRun    bool // only says what it would do

	Sleep func(context.Context, time.Duration) error // between tries; nil: nothing is tried again
}

// Found is an ISO on a store, and what Clean did about it.
type Found struct {
	Image  string `json:"image"`
	Store  string `json:"store"`
	Path   string `json:"path"`          // of the ISO, also when only its manifest is left
	SHA256 string `json:"sha256"`        // 64 hex digits
	Bytes  int64  `json:"bytes"`         // of all its files
	Why    string `json:"why,omitempty"` // why it is kept; empty: it was removed, or would be

	names []string // of its files, in the order of removal
}

// Clean removes every ISO, with what lies beside it, that is older than OlderThan and that no channel, no earlier
// position of a channel and no VM names on any of the stores. It touches only names made of a digest and a known
// ending, with a manifest that describes this digest. It removes nothing at all unless every channel and the VMs of
// every store could be read, each of them twice. After an error the list holds what was removed until then.
//
// It does not see a push that finds an old ISO present and is about to move a channel there: that push checks once
// more that the ISO is there, but do not let the two run at the same moment.
func Clean(ctx context.Context, c Cleaning) (removed, kept []Found, err error) {
	for _, s := range c.Stores {
		if err := able(s, c.DryRun); err != nil {
			return nil, nil, err
		}
	}
	named, err := c.references(ctx)
	if err != nil {
		return nil, nil, err
	}
	todo := make([][]Found, len(c.Stores))
	for i, s := range c.Stores {
		for _, image := range c.Images {
			list, err := c.look(ctx, s, image, named)
			if err != nil {
				return nil, nil, fmt.Errorf("store %s: %w", s.Name(), err)
			}
			todo[i] = append(todo[i], list...)
		}
	}
	if named, err = c.references(ctx); err != nil { // looking took its time
		return nil, nil, err
	}
	for i, s := range c.Stores {
		for _, f := range todo[i] {
			if f.Why == "" {
				f.Why = named.why(f.Image, f.SHA256)
			}
			if f.Why != "" {
				kept = append(kept, f)
				continue
			}
			if err := c.remove(ctx, s, f); err != nil {
				return removed, kept, fmt.Errorf("store %s: %w", s.Name(), err)
			}
			removed = append(removed, f)
		}
	}
	return removed, kept, nil
}

// able refuses stores that cannot say what is in use, or cannot remove.
func able(s Store, dry bool) error {
	if _, ok := s.(Users); !ok {
		return fmt.Errorf("store %s: it cannot say which VMs use its files, so nothing is removed anywhere", s.Name())
	}
	if _, ok := s.(Remover); !ok && !dry {
		return fmt.Errorf("store %s: it cannot remove ISOs, so nothing is removed anywhere", s.Name())
	}
	return nil
}

var digests = regexp.MustCompile(`[0-9a-f]{64}`)

// references is what names ISOs.
type references struct {
	digests  map[string]string // to what names it
	channels map[string]bool   // images that have a channel on some store
}

// why says what keeps an ISO; empty: nothing does.
func (r references) why(image, digest string) string {
	if !r.channels[image] {
		return "the image has no channel on any store, so nobody knows which ISO is current"
	}
	return r.digests[digest]
}

// references reads everything that names an ISO. A VM's file counts by its name, whatever its folder and datastore: the
// same file may have several paths.
func (c Cleaning) references(ctx context.Context) (references, error) {
	r := references{map[string]string{}, map[string]bool{}}
	for _, d := range c.Keep {
		r.digests[d] = "the spec names it"
	}
	positions, err := Channels(ctx, c.Images, c.calm())
	if err != nil {
		return r, fmt.Errorf("nothing is removed: %w", err)
	}
	for _, p := range positions {
		r.channels[p.Image] = true
		for _, m := range p.Previous {
			r.digests[m.Digest] = fmt.Sprintf("channel %s on store %s was there before", p.Name, p.Store)
		}
	}
	for _, p := range positions {
		r.digests[p.Digest] = fmt.Sprintf("channel %s on store %s", p.Name, p.Store)
	}
	for _, s := range c.Stores {
		used, err := c.used(ctx, s)
		if err != nil {
			return r, fmt.Errorf("nothing is removed: store %s: find the VMs that use its files: %w", s.Name(), err)
		}
		for _, p := range slices.Sorted(maps.Keys(used)) {
			for _, d := range digests.FindAllString(p, -1) {
				r.digests[d] = "VM " + used[p]
			}
		}
	}
	return r, nil
}

func (c Cleaning) used(ctx context.Context, s Store) (used map[string]string, err error) {
	u, ok := s.(Users)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	err = calm(s, c.Sleep).within(ctx, callTime, func(ctx context.Context) error {
		used, err = u.UsedFiles(ctx)
		return err
	})
	return used, err
}

func (c Cleaning) calm() []Store {
	list := make([]Store, len(c.Stores))
	for i, s := range c.Stores {
		list[i] = calm(s, c.Sleep)
	}
	return list
}

// look lists the ISOs of an image on a store, by digest, and judges each.
func (c Cleaning) look(ctx context.Context, raw Store, image string, named references) ([]Found, error) {
	s := calm(raw, c.Sleep)
	files, err := s.List(ctx, image)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.Path(image), err)
	}
	byDigest, busy := map[string]map[string]fs.FileInfo{}, map[string]bool{}
	for _, f := range files {
		if IsTemporary(f.Name()) {
			busy[digests.FindString(f.Name())] = true
		}
		if digest, ending, ok := contentName(f.Name()); ok {
			if byDigest[digest] == nil {
				byDigest[digest] = map[string]fs.FileInfo{}
			}
			byDigest[digest][ending] = f
		}
	}
	var list []Found
	for _, digest := range slices.Sorted(maps.Keys(byDigest)) {
		f := Found{Image: image, Store: s.Name(), SHA256: digest, Path: s.Path(ISOPath(image, digest)), Why: named.why(image, digest)}
		for _, ending := range endings {
			if info := byDigest[digest][ending]; info != nil {
				f.names, f.Bytes = append(f.names, digest+ending), f.Bytes+info.Size()
			}
		}
		f.Why = cmp.Or(f.Why, keeps(raw))
		if f.Why == "" && busy[digest] {
			f.Why = "a push of it is under way, or was broken off"
		}
		if f.Why == "" {
			f.Why = c.spared(ctx, s, image, digest, byDigest[digest])
		}
		list = append(list, f)
	}
	return list, nil
}

// spared says why an ISO that nothing names is kept all the same; empty: it is not.
func (c Cleaning) spared(ctx context.Context, s Store, image, digest string, files map[string]fs.FileInfo) string {
	for _, ending := range endings {
		info := files[ending]
		switch {
		case info == nil:
		case info.ModTime().IsZero():
			return "its age is not known"
		case c.Now.Sub(info.ModTime()) <= c.OlderThan:
			return "it is too young"
		}
	}
	if files[manifestEnding] == nil {
		return "it has no manifest: it may not be lkv's"
	}
	m, err := ReadManifest(ctx, s, image, digest)
	switch iso := files[isoEnding]; {
	case err != nil:
		return "its manifest is not understood: " + err.Error()
	case m.Image != image:
		return fmt.Sprintf("its manifest is of image %q", m.Image)
	case iso != nil && iso.Size() != m.ISO.Size:
		return fmt.Sprintf("it has %d bytes and its manifest says %d", iso.Size(), m.ISO.Size)
	}
	return ""
}

// remove removes the ISO and then the rest, the manifest as the last, so that a broken removal is taken up again.
func (c Cleaning) remove(ctx context.Context, s Store, f Found) error {
	if c.DryRun {
		return nil
	}
	r, ok := s.(Remover)
	if !ok {
		return able(s, false)
	}
	for _, name := range f.names {
		p := path.Join(f.Image, name)
		err := calm(s, c.Sleep).within(ctx, callTime, func(ctx context.Context) error { return r.Remove(ctx, p) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", s.Path(p), err)
		}
	}
	return nil
}
