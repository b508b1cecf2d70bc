package build

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/lkv-io/lkv/build/squashfs"
	"github.com/lkv-io/lkv/internal/manifest"
)

// named is one name of a packed component. Hard links share an inode.
type named struct {
	Name  text `json:"n"`
	Inode int  `json:"i"` // index in segment.Inodes
}

// metadata is what a squashfs records of an inode beside its content.
type metadata struct {
	Mode   uint32            `json:"m"` // st_mode
	UID    uint32            `json:"u,omitempty"`
	GID    uint32            `json:"g,omitempty"`
	MTime  int64             `json:"t,omitempty"` // clamped
	Target text              `json:"l,omitempty"`
	Major  uint32            `json:"a,omitempty"`
	Minor  uint32            `json:"b,omitempty"`
	File   int               `json:"f,omitempty"` // index in the pack, of a regular file
	XAttrs map[string][]byte `json:"x,omitempty"` // values are not always text
}

// squash writes a component as blocks of a squashfs and notes the metadata in the segment.
func (s *store) squash(ctx context.Context, w io.Writer, c content, sp *spill, seg *segment) error {
	s.pack.Lock()
	defer s.pack.Unlock()
	p, err := squashfs.NewPacker(w, squashfs.PackOptions{Level: s.level, Workers: cap(s.c.encoders)})
	if err != nil {
		return err
	}
	at := map[*inode]int{}
	for _, e := range c.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		i, known := at[e.ino]
		if !known {
			m := metadataOf(e.ino, c.clamp)
			for _, x := range sortedKeys(e.ino.xattrs) {
				if !squashfs.XAttrSupported(x) {
					seg.Dropped = append(seg.Dropped, manifest.Dropped{Path: e.name, XAttr: x})
				}
			}
			if e.ino.is(typeReg) {
				if m.File, err = p.Add(e.ino.size, func() (io.Reader, error) { return sp.content(e.ino), nil }); err != nil {
					return fmt.Errorf("pack %s: %w", e.name, err)
				}
				seg.Unpacked += e.ino.size
			}
			i = len(seg.Inodes)
			at[e.ino] = i
			seg.Inodes = append(seg.Inodes, m)
		}
		seg.Tree = append(seg.Tree, named{text(e.name), i})
	}
	pack, err := p.Close()
	seg.Pack = &pack
	return err
}

func metadataOf(i *inode, clamp int64) metadata {
	m := metadata{Mode: i.mode, UID: i.uid, GID: i.gid, MTime: min(max(i.mtime, 0), clamp, 1<<32-1), Target: text(i.target), Major: i.major, Minor: i.minor}
	for _, k := range sortedKeys(i.xattrs) {
		if !squashfs.XAttrSupported(k) {
			continue
		}
		if m.XAttrs == nil {
			m.XAttrs = map[string][]byte{}
		}
		m.XAttrs[k] = []byte(i.xattrs[k])
	}
	return m
}

// squashEntries lays the packed components over one another: of several entries with one name the last counts, and
// a hard link whose first name is gone keeps its content under the next.
func squashEntries(parts []segment) []squashfs.Entry {
	type place struct{ part, at int }
	last := map[text]place{}
	for p, s := range parts {
		for i, n := range s.Tree {
			last[n.Name] = place{p, i}
		}
	}
	out := []squashfs.Entry{{Mode: typeDir | 0o755}}
	first := map[place]text{} // by part and inode
	for p, s := range parts {
		for i, n := range s.Tree {
			if last[n.Name] != (place{p, i}) {
				continue
			}
			m := s.Inodes[n.Inode]
			e := squashfs.Entry{Path: string(n.Name), Mode: m.Mode, UID: m.UID, GID: m.GID, MTime: m.MTime, Target: string(m.Target),
				Major: m.Major, Minor: m.Minor, Pack: p, File: m.File}
			for k, v := range m.XAttrs {
				if e.XAttrs == nil {
					e.XAttrs = map[string]string{}
				}
				e.XAttrs[k] = string(v)
			}
			if m.Mode&typeMask != typeDir {
				if name, again := first[place{p, n.Inode}]; again {
					e.Link = string(name)
				} else {
					first[place{p, n.Inode}] = n.Name
				}
			}
			out = append(out, e)
		}
	}
	return out
}

// fingerprint stands for everything a segment puts into the root file system.
func (s segment) fingerprint() string {
	if s.Pack == nil {
		return s.SHA256
	}
	meta, err := json.Marshal([]any{s.Tree, s.Inodes})
	if err != nil {
		return "" // plain values always encode
	}
	return keyOf(s.SHA256, string(meta))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
