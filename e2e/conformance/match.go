package conformance

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/e2e/conformance/unpack"
)

// Pair is everything a rule may look at.
type Pair struct {
	LinuxKit, LKV Side
	Tar           Tar
	Paths         []string       // of the YAML's "files", without leading slash
	Metadata      []string       // those of them with metadata
	Persist       bool           // the image has persist blocks
	Created       map[int64]bool // creation times of the images, seconds since 1970
}

// linuxkitTime is what LinuxKit gives the files it makes.
const linuxkitTime = 1492533000

func identity(d Diff, _ Pair) bool {
	return d.Field == "extra" && (d.Path == ".lkv" || d.Path == ".lkv/complete" || d.Path == "etc/lkv" || d.Path == "etc/lkv/image.json")
}

func bootDirectory(d Diff, p Pair) bool {
	return d.Field == "missing" && d.Path == "boot" && p.LinuxKit.Names["boot"].Is(unpack.Dir)
}

func ociVersion(d Diff, _ Pair) bool { return d.Field == "content ociVersion" }

// named tells whether an element of the path begins with prefix: how test images mark what must be there or not.
func named(p, prefix string) bool {
	return slices.ContainsFunc(strings.Split(p, "/"), func(e string) bool { return strings.HasPrefix(e, prefix) })
}

func ownWhiteout(d Diff, p Pair) bool {
	return d.Field == "extra" && named(d.Path, "kept-") && !p.Tar.has(d.Path)
}

func opaque(d Diff, _ Pair) bool { return d.Field == "missing" && named(d.Path, "gone-") }

// container is the directory of the image a name lies in, "" for the root file system itself.
func container(name string) string {
	part := strings.SplitN(name, "/", 5)
	if len(part) == 5 && part[0] == "containers" {
		return path.Join(part[:4]...)
	}
	return ""
}

// lost tells whether LinuxKit has the entry, or one below it, and the kernel leaves it out. Paths are compared
// as lkv's root resolves them.
func lost(d Diff, p Pair, why func(name string) bool) bool {
	return d.Field == "extra" && slices.ContainsFunc(p.LinuxKit.Lost, func(name string) bool {
		real := p.LKV.Resolve(name, container(name))
		return why(name) && (real == d.Path || strings.HasPrefix(real, d.Path+"/"))
	})
}

func missingParents(d Diff, p Pair) bool {
	return lost(d, p, func(name string) bool { return !p.Tar.has(path.Dir(name)) })
}

func order(d Diff, p Pair) bool {
	return lost(d, p, func(name string) bool { return p.Tar.has(path.Dir(name)) || p.Tar.has(path.Dir(path.Dir(name))) })
}

// throughLink: lkv kept a link where LinuxKit has a directory in its place.
func throughLink(d Diff, p Pair) bool {
	if d.Field != "type" && d.Field != "missing" && d.Field != "extra" {
		return false
	}
	for name, i := range p.LKV.Names {
		old := p.LinuxKit.Names[name]
		if !i.Is(unpack.Symlink) || old == nil || !old.Is(unpack.Dir) {
			continue
		}
		target := strings.TrimPrefix(path.Join(path.Dir("/"+name), i.Target), "/")
		switch {
		case d.Path == name && d.Field == "type":
			return true
		case d.Field == "missing" && strings.HasPrefix(d.Path, name+"/") && p.LKV.Find(d.Path) != nil:
			return true
		case d.Field == "extra" && strings.HasPrefix(d.Path, target+"/") && p.LinuxKit.Names[name+strings.TrimPrefix(d.Path, target)] != nil:
			return true
		}
	}
	return false
}

func hardLinks(d Diff, p Pair) bool {
	a, b := p.LinuxKit.Names[d.Path], p.LKV.Names[d.Path]
	switch d.Field {
	case "type":
		return a.Is(unpack.Symlink) && b.Is(unpack.Regular) && p.Tar.hard[d.Path] != ""
	case "links": // the name that LinuxKit's tar has the content under
		return a.Is(unpack.Regular) && d.LinuxKit == "" && slices.ContainsFunc(strings.Split(d.LKV, " = "), func(n string) bool { return p.Tar.hard[n] != "" })
	}
	return false
}

func duplicates(d Diff, _ Pair) bool {
	return (strings.HasPrefix(d.Field, "content") || d.Field == "mode") && named(d.Path, "twice-")
}

func standardDirectories(d Diff, p Pair) bool {
	dir, base := path.Split(d.Path)
	top := dir == "" || strings.HasPrefix(dir, "containers/") && (strings.HasSuffix(dir, "/lower/") || strings.HasSuffix(dir, "/rootfs/"))
	if !top || !slices.Contains([]string{"dev", "etc", "proc", "sys"}, base) || p.above(d.Path) {
		return false
	}
	return d.Field == "mode" && d.LinuxKit == "0755" || d.Field == "owner" && d.LinuxKit == "0:0"
}

// above tells whether a directory lies over one of the YAML's files.
func (p Pair) above(dir string) bool {
	return slices.ContainsFunc(p.Paths, func(f string) bool { return strings.HasPrefix(f, dir+"/") })
}

func filesParents(d Diff, p Pair) bool {
	return (d.Field == "mode" || d.Field == "owner") && p.above(d.Path)
}

func metadataReferences(d Diff, p Pair) bool {
	return slices.Contains(p.Metadata, d.Path) && strings.HasPrefix(d.Field, "content ") &&
		(d.LinuxKit == "docker.io/"+d.LKV || d.LinuxKit == "docker.io/library/"+d.LKV)
}

// sameDigest: a container has no files of its own because another has them.
func sameDigest(d Diff, p Pair) bool {
	bundle := strings.Join(strings.Split(d.Path, "/")[:min(3, strings.Count(d.Path, "/")+1)], "/")
	own := bundle + "/lower"
	if p.LKV.Names[bundle+"/runtime.json"] == nil || p.LKV.Names[own] != nil || p.LinuxKit.Names[own] == nil {
		return false
	}
	if d.Field == "missing" {
		return d.Path == own || strings.HasPrefix(d.Path, own+"/")
	}
	other, ok := strings.CutPrefix(d.LKV, "lowerdir=/")
	return ok && d.Path == bundle+"/runtime.json" && d.LinuxKit == "lowerdir=/"+own && p.LKV.Names[other] != nil
}

func apkBlankLines(d Diff, p Pair) bool {
	if d.Field != "content" || path.Base(d.Path) != "installed" {
		return false
	}
	squeeze := func(b []byte) string {
		for bytes.Contains(b, []byte("\n\n\n")) {
			b = bytes.ReplaceAll(b, []byte("\n\n\n"), []byte("\n\n"))
		}
		return string(b)
	}
	return squeeze(p.LinuxKit.Names[d.Path].Data) == squeeze(p.LKV.Names[d.Path].Data)
}

func imageUser(d Diff, _ Pair) bool {
	return path.Base(d.Path) == "config.json" && strings.HasPrefix(d.Field, "content process.user.") && (d.LinuxKit == "0" || d.LinuxKit == "")
}

func persistIDs(d Diff, p Pair) bool {
	return p.Persist && (strings.HasPrefix(d.Field, "content process.user.") || d.Field == "owner")
}

func persistMountPoint(d Diff, p Pair) bool {
	return p.Persist && d.Field == "extra" && (d.Path == "srv" || d.Path == "srv/data")
}

func timeOfBuild(d Diff, p Pair) bool {
	if d.Field != "mtime" {
		return false
	}
	a := p.LinuxKit.Names[d.Path].Mtime
	return a == linuxkitTime || a == 0 && path.Base(d.Path) == "installed" // the joined package list has none
}

func timeClamped(d Diff, p Pair) bool {
	if d.Field != "mtime" {
		return false
	}
	a, b := p.LinuxKit.Names[d.Path].Mtime, p.LKV.Names[d.Path].Mtime
	return a > b && p.Created[int64(b)]
}
