package unpack

import (
	"path"
	"strings"
)

// Inode is what the names of a file share after unpacking.
type Inode struct {
	Mode     uint32
	UID, GID uint32
	Mtime    uint32
	Rdev     [2]uint32
	Size     int64
	Sum      [32]byte
	Data     []byte // of small files
	Target   string
	Xattrs   map[string]string // an initrd has none; for comparing with other file systems
	names    map[string]*Inode // of a directory
}

// Is tells whether the inode has a type.
func (i *Inode) Is(t uint32) bool { return i.Mode&TypeMask == t }

// Root is the root file system while the kernel unpacks into it. The rules:
//   - the last entry of a name decides; a directory that is there keeps what is in it and gets the new mode and
//     owner;
//   - an entry of another type first removes the old one; a directory with something in it cannot be removed, and
//     then the new entry is lost;
//   - an entry whose directory does not exist is lost;
//   - symbolic links above a name are followed, at the name itself they are replaced;
//   - an entry with more than one link and the device, inode number and type of an earlier one is a hard link,
//     until the trailer.
type Root struct {
	top   *Inode
	links map[link]*Inode
	Lost  []string // names of entries the kernel would leave out without a word
	Twice []string // names that came more than once
}

type link struct {
	dev  [2]uint32
	ino  uint32
	mode uint32
}

// NewRoot is an empty root file system.
func NewRoot() *Root {
	return &Root{top: &Inode{Mode: Dir | 0o755, names: map[string]*Inode{}}, links: map[link]*Inode{}}
}

// Add unpacks one entry.
func (r *Root) Add(rec Record) error {
	if rec.Name == Trailer {
		r.links = map[link]*Inode{}
		return nil
	}
	dirName, base := path.Split(strings.TrimSuffix(path.Clean("/"+rec.Name), "/"))
	dir := r.walk(dirName, r.top)
	if base == "" {
		return nil // the root itself
	}
	if dir == nil {
		r.Lost = append(r.Lost, rec.Name)
		return nil
	}
	old := dir.names[base]
	if old != nil {
		r.Twice = append(r.Twice, rec.Name)
		if old.Mode&TypeMask != rec.Mode&TypeMask || old.Is(Symlink) {
			if old.Is(Dir) && len(old.names) > 0 {
				r.Lost = append(r.Lost, rec.Name)
				return nil
			}
			delete(dir.names, base)
			old = nil
		}
	}
	r.put(dir, base, old, rec)
	return nil
}

func (r *Root) put(dir *Inode, base string, old *Inode, rec Record) {
	shared := rec.Links >= 2 && rec.Mode&TypeMask != Dir && rec.Mode&TypeMask != Symlink
	key := link{rec.Dev, rec.Ino, rec.Mode & TypeMask}
	if first := r.links[key]; shared && first != nil {
		dir.names[base] = first
		old = first
		if rec.Size == 0 {
			rec.Size, rec.Sum, rec.Data = first.Size, first.Sum, first.Data // only the name comes again
		}
	}
	if old == nil {
		old = &Inode{}
		dir.names[base] = old
	}
	if shared {
		r.links[key] = old
	}
	old.Mode, old.UID, old.GID, old.Mtime, old.Rdev = rec.Mode, rec.UID, rec.GID, rec.Mtime, rec.Rdev
	old.Size, old.Sum, old.Data, old.Target = rec.Size, rec.Sum, rec.Data, rec.Target
	switch {
	case old.Is(Dir) && old.names == nil:
		old.names = map[string]*Inode{}
	case old.Is(Symlink):
		old.Mode = Symlink | 0o777 // links have no mode of their own
	}
}

// walk finds a directory through symbolic links, nil when there is none. Absolute links begin at top.
func (r *Root) walk(name string, top *Inode) *Inode {
	stack, hops := []*Inode{r.top}, 0
	todo := strings.Split(name, "/")
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		switch c {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		n := stack[len(stack)-1].names[c]
		switch {
		case n == nil || hops > 40:
			return nil
		case n.Is(Dir):
			stack = append(stack, n)
		case n.Is(Symlink):
			hops++
			if path.IsAbs(n.Target) {
				stack = []*Inode{top}
			}
			todo = append(strings.Split(n.Target, "/"), todo...)
		default:
			return nil
		}
	}
	return stack[len(stack)-1]
}

// Find returns the inode of a name, nil when there is none.
func (r *Root) Find(name string) *Inode {
	dir, base := path.Split(path.Clean("/" + name))
	if d := r.walk(dir, r.top); d != nil {
		return d.names[base]
	}
	return nil
}

// Resolve follows the symbolic links above a name as a process whose root directory is top would: the path its
// file really has, or "" when there is none.
func (r *Root) Resolve(name, top string) string {
	dir, base := path.Split(path.Clean("/" + name))
	t := r.top
	if top != "" {
		t = r.Find(top)
	}
	d := r.walk(dir, t)
	for p, i := range r.Files() {
		if i == d {
			return path.Join(p, base)
		}
	}
	if d == r.top {
		return base
	}
	return ""
}

// Files lists everything below the root, by path without a leading slash.
func (r *Root) Files() map[string]*Inode {
	out := map[string]*Inode{}
	r.top.list("", out)
	return out
}

func (i *Inode) list(at string, out map[string]*Inode) {
	for base, n := range i.names {
		p := path.Join(at, base)
		out[p] = n
		n.list(p, out)
	}
}
