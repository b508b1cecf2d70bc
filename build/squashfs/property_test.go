package squashfs

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// anyData draws content of blocks that are zero, compressible or not, and a tail.
func anyData(r *rapid.T, block int) string {
	data := ""
	for range rapid.IntRange(0, 4).Draw(r, "blocks") {
		data += anyRun(r, block)
	}
	return data + anyRun(r, rapid.IntRange(0, block).Draw(r, "tail"))
}

func anyRun(r *rapid.T, n int) string {
	switch rapid.IntRange(0, 2).Draw(r, "kind") {
	case 0:
		return string(make([]byte, n))
	case 1:
		return text(n)
	default:
		return noise(rapid.Uint64Range(0, 9).Draw(r, "noise"), n)
	}
}

// anyEntry draws what is not its name.
func anyEntry(r *rapid.T, block, packs int) file {
	types := []uint32{typeDir, typeDir, typeReg, typeReg, typeReg, typeLink, typeChar, typeBlk, typeFifo, typeSock}
	id := rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32Range(0, 1<<31))
	f := file{Entry: Entry{
		Mode: rapid.SampledFrom(types).Draw(r, "type") | rapid.Uint32Range(0, permMask).Draw(r, "mode"),
		UID:  id.Draw(r, "uid"), GID: id.Draw(r, "gid"), MTime: rapid.Int64Range(0, 1<<32-1).Draw(r, "time"),
	}}
	switch f.Mode & typeMask {
	case typeReg:
		f.Data, f.Pack = anyData(r, block), rapid.IntRange(0, packs-1).Draw(r, "pack")
	case typeLink:
		f.Mode = typeLink | 0o777 // Linux has no others
		f.Target = rapid.StringMatching(`[a-z./]{1,300}`).Draw(r, "target")
	case typeChar, typeBlk:
		f.Major, f.Minor = rapid.Uint32Range(0, 255).Draw(r, "major"), rapid.Uint32Range(0, 255).Draw(r, "minor")
	}
	names := []string{"trusted.a", "trusted.b", "security.lkv"} // user.* is for files and directories only
	if f.is(typeReg) || f.is(typeDir) {
		names = append(names, "user.c", "user.d")
	}
	for _, n := range names {
		if rapid.IntRange(0, 5).Draw(r, "has") == 0 {
			if f.XAttrs == nil {
				f.XAttrs = map[string]string{}
			}
			f.XAttrs[n] = rapid.SampledFrom([]string{"", "x", "y", text(500), noise(1, 900)}).Draw(r, "value")
		}
	}
	return f
}

func (f file) is(t uint32) bool { return f.Mode&typeMask == t }

// anyFiles draws a tree: every entry goes into one of the directories there are, or links to a file there is.
func anyFiles(r *rapid.T, block, packs int) []file {
	list, dirs, links := []file{dir("")}, []string{""}, []string{}
	used := map[string]bool{"": true}
	name := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9._ -]{1,12}`), rapid.StringMatching(`[a-c]{1,2}`), rapid.StringMatching(`(é|[\x01-\x1f]|\\|long{1,80})`))
	for range rapid.IntRange(0, 30).Draw(r, "entries") {
		p := name.Draw(r, "name")
		if d := rapid.SampledFrom(dirs).Draw(r, "dir"); d != "" {
			p = d + "/" + p
		}
		if used[p] || checkPath(p) != nil {
			continue
		}
		used[p] = true
		if len(links) > 0 && rapid.IntRange(0, 4).Draw(r, "link") == 0 {
			list = append(list, file{Entry: Entry{Path: p, Link: rapid.SampledFrom(links).Draw(r, "to")}})
			links = append(links, p)
			continue
		}
		f := anyEntry(r, block, packs)
		f.Path = p
		if list = append(list, f); f.is(typeDir) {
			dirs = append(dirs, p)
		} else {
			links = append(links, p)
		}
	}
	return list
}

// TestAnyTree: what goes in comes out, of our reader and of unsquashfs.
func TestAnyTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		block := rapid.SampledFrom([]int{minBlock, 2 * minBlock, 8 * minBlock}).Draw(r, "block")
		n := rapid.IntRange(1, 3).Draw(r, "packs")
		o := PackOptions{Level: zstd.SpeedFastest, Workers: rapid.IntRange(1, 4).Draw(r, "workers"), BlockSize: block}
		list := anyFiles(r, block, n)
		img := build(t, list, o, n)
		if diff := cmp.Diff(want(list), read(t, img)); diff != "" {
			r.Fatalf("reader (-want +got):\n%s", diff)
		}
		if os.Geteuid() != 0 {
			return // an ordinary user cannot make most of these; TestUnsquashfs has what he can
		}
		if diff := cmp.Diff(want(list), extract(t, img)); diff != "" {
			r.Fatalf("unsquashfs (-want +got):\n%s", diff)
		}
	})
}

// TestAnyPart: readers of single files see the same in steps of any length, several at a time.
func TestAnyPart(t *testing.T) {
	data := noise(1, 2*minBlock) + string(make([]byte, minBlock)) + text(minBlock+77)
	img := build(t, []file{dir(""), reg("a", data), reg("b", data[5:])}, small(), 1)
	rapid.Check(t, func(r *rapid.T) {
		nodes := nodes(t, img)
		a, b := nodes["a"].Open(), nodes["b"].Open()
		var got [2]string
		buf := make([]byte, rapid.IntRange(50, 3*minBlock).Draw(r, "step"))
		for len(got[0]) < len(data) || len(got[1]) < len(data)-5 {
			n, _ := a.Read(buf)
			got[0] += string(buf[:n])
			n, _ = b.Read(buf)
			got[1] += string(buf[:n])
		}
		if !slices.Equal(got[:], []string{data, data[5:]}) {
			r.Fatal("other content in steps")
		}
	})
}
