package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"gopkg.in/yaml.v3"
)

// filePath checks a path of the YAML's files section and makes it relative to the root.
func filePath(p string) (string, error) {
	name, err := cleanName(strings.TrimPrefix(p, "/"))
	switch {
	case err != nil:
	case name == "":
		err = errors.New("it names no file")
	case name == trailer:
		err = errors.New("that name ends a cpio archive")
	}
	return name, err
}

// userFiles makes the entries of the YAML's files section. Directories above a file are made with the file's
// mode and owner as LinuxKit does, but only where nobody has made them: a file in /etc leaves /etc alone.
func (c config) userFiles(base *root, mtime int64) ([]entry, error) {
	out := c.volumeDirs(mtime)
	made := map[string]bool{}
	for i, f := range c.Files {
		ino, err := c.fileInode(f, c.sources[i], mtime)
		if err != nil {
			return nil, c.sources[i].at(f.Path, err)
		}
		if ino == nil {
			continue
		}
		name, err := filePath(f.Path)
		if err == nil {
			name, err = base.place(name, f.Directory)
		}
		if err != nil {
			return nil, c.sources[i].at(f.Path, err)
		}
		for _, d := range parents(name) {
			if !base.dirs[d] && !made[d] {
				out = append(out, entry{d, above(ino, mtime)})
				made[d] = true
			}
		}
		made[name] = true
		if base.hard[name] && ino.is(typeReg) {
			out = append(out, entry{name, &inode{mode: typeLink | 0o777, target: "replaced"}})
		}
		out = append(out, entry{name, ino})
	}
	return out, nil
}

// above is the directory over a file: who may read or write the file may enter.
func above(ino *inode, mtime int64) *inode {
	perm := ino.mode & permMask
	if ino.is(typeLink) {
		perm = 0o755
	}
	for _, who := range []uint32{6, 3, 0} {
		if perm&(7<<who) != 0 {
			perm |= 1 << who
		}
	}
	return &inode{mode: typeDir | perm, uid: ino.uid, gid: ino.gid, mtime: mtime}
}

// fileInode returns nil for an optional file that is not there.
func (c config) fileInode(f moby.File, from source, mtime int64) (*inode, error) {
	ino := &inode{mtime: mtime}
	var err error
	if ino.uid, err = moby.IDNumeric(f.UID, c.ids); err != nil {
		return nil, fmt.Errorf("uid: %w", err)
	}
	if ino.gid, err = moby.IDNumeric(f.GID, c.ids); err != nil {
		return nil, fmt.Errorf("gid: %w", err)
	}
	perm := uint64(0o600)
	if f.Directory {
		perm = 0o700
	}
	if f.Mode != "" {
		if perm, err = strconv.ParseUint(f.Mode, 8, 32); err != nil || perm > permMask {
			return nil, fmt.Errorf("mode %q is no octal number", f.Mode)
		}
	}
	ino.mode = uint32(perm)
	switch {
	case f.Directory:
		ino.mode |= typeDir
		return ino, nil
	case f.Symlink != "":
		ino.mode, ino.target = typeLink|0o777, f.Symlink
		return ino, nil
	}
	ino.mode |= typeReg
	ino.data, err = c.contents(f, from)
	if f.Optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	ino.size = int64(len(ino.data))
	return ino, err
}

func (c config) contents(f moby.File, from source) ([]byte, error) {
	switch {
	case f.Contents != nil:
		return []byte(*f.Contents), nil
	case from.path != "":
		return from.read()
	case f.Metadata == "yaml":
		return yaml.Marshal(c.Moby)
	}
	return json.MarshalIndent(c.Moby, "", "    ")
}

// mountPoints are the directories the persist blocks mount on, where the root has none yet.
func mountPoints(base *root, blocks []Persist, mtime int64) []entry {
	var out []entry
	for _, b := range blocks {
		dir, needed := mountPoint(b.Mount)
		if !needed {
			continue
		}
		for _, d := range append(parents(dir), dir) {
			if !base.dirs[path.Clean(d)] {
				out = append(out, entry{d, &inode{mode: typeDir | 0o755, mtime: mtime}})
			}
		}
	}
	return merge(out)
}
