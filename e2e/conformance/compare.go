// Package conformance compares the root file system lkv builds with the one LinuxKit's own builder makes from the same
// YAML and images, entry by entry, as the kernel unpacks both. Every difference must be one of Deviations.
package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/lkv-io/lkv/e2e/conformance/unpack"
)

// Diff is one difference between the two root file systems.
type Diff struct {
	Path     string
	Field    string // "missing", "extra", "type", "mode", "owner", "target", "content" (with the key, in JSON), "device", "links", "xattrs" or "mtime"
	LinuxKit string
	LKV      string
}

func (d Diff) String() string {
	return fmt.Sprintf("/%s: %s: LinuxKit %s, lkv %s", d.Path, d.Field, d.LinuxKit, d.LKV)
}

// Side is one builder's root file system.
type Side struct {
	*unpack.Root
	Names  map[string]*unpack.Inode // by path without leading slash
	Groups map[*unpack.Inode]string // files with several names -> their names, sorted and joined
}

// NewSide takes stock of an unpacked root file system.
func NewSide(r *unpack.Root) Side {
	s := Side{Root: r, Names: r.Files(), Groups: map[*unpack.Inode]string{}}
	names := map[*unpack.Inode][]string{}
	for p, i := range s.Names {
		if !i.Is(unpack.Dir) {
			names[i] = append(names[i], p)
		}
	}
	for i, list := range names {
		if len(list) > 1 {
			sort.Strings(list)
			s.Groups[i] = strings.Join(list, " = ")
		}
	}
	return s
}

// Compare lists all differences in the order of paths.
func Compare(linuxkit, lkv Side) []Diff {
	all := maps.Clone(linuxkit.Names)
	maps.Copy(all, lkv.Names)
	var out []Diff
	for _, p := range slices.Sorted(maps.Keys(all)) {
		a, b := linuxkit.Names[p], lkv.Names[p]
		switch {
		case a == nil:
			out = append(out, Diff{p, "extra", "nothing", describe(b)})
		case b == nil:
			out = append(out, Diff{p, "missing", describe(a), "nothing"})
		case a.Mode&unpack.TypeMask != b.Mode&unpack.TypeMask:
			out = append(out, Diff{p, "type", describe(a), describe(b)})
		default:
			out = append(out, same(p, a, b, linuxkit, lkv)...)
		}
	}
	return out
}

// same compares two entries of one type.
func same(p string, a, b *unpack.Inode, linuxkit, lkv Side) []Diff {
	var out []Diff
	differ := func(field string, x, y any) {
		if x, y := fmt.Sprint(x), fmt.Sprint(y); x != y {
			out = append(out, Diff{p, field, x, y})
		}
	}
	differ("mode", fmt.Sprintf("%04o", a.Mode&unpack.PermMask), fmt.Sprintf("%04o", b.Mode&unpack.PermMask))
	differ("owner", fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID))
	differ("target", a.Target, b.Target)
	if a.Is(unpack.Regular) && a.Sum != b.Sum {
		out = append(out, contents(p, a, b)...)
	}
	if a.Is(unpack.Char) || a.Is(unpack.Block) {
		differ("device", a.Rdev, b.Rdev)
	}
	differ("links", linuxkit.Groups[a], lkv.Groups[b])
	differ("xattrs", a.Xattrs, b.Xattrs)
	differ("mtime", a.Mtime, b.Mtime)
	return out
}

// contents says where two files differ: key by key in JSON.
func contents(p string, a, b *unpack.Inode) []Diff {
	x, y := flat(a.Data), flat(b.Data)
	if x == nil || y == nil {
		return []Diff{{p, "content", content(a), content(b)}}
	}
	keys := maps.Clone(x)
	maps.Copy(keys, y)
	var out []Diff
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if x[k] != y[k] {
			out = append(out, Diff{p, "content " + k, x[k], y[k]})
		}
	}
	if len(out) == 0 {
		out = append(out, Diff{p, "content spelling", content(a), content(b)})
	}
	return out
}

// flat is a JSON object as key.key -> value, nil when data is none.
func flat(data []byte) map[string]string {
	var doc map[string]any
	if json.Unmarshal(data, &doc) != nil {
		return nil
	}
	out := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(at+"."+k, e)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), e)
			}
		default:
			out[strings.TrimPrefix(at, ".")] = fmt.Sprint(v)
		}
	}
	walk("", doc)
	return out
}

func content(i *unpack.Inode) string { return fmt.Sprintf("%d bytes %x", i.Size, i.Sum[:6]) }

func describe(i *unpack.Inode) string {
	kind := map[uint32]string{unpack.Dir: "directory", unpack.Regular: "file", unpack.Symlink: "link", unpack.Char: "character device",
		unpack.Block: "block device", unpack.FIFO: "fifo"}[i.Mode&unpack.TypeMask]
	if i.Is(unpack.Symlink) {
		return kind + " to " + i.Target
	}
	return fmt.Sprintf("%s %04o %d:%d", kind, i.Mode&unpack.PermMask, i.UID, i.GID)
}
