package squashfs

import (
	"strings"
	"testing"
)

// TestPlanErrors: what no image should hold is refused with its path.
func TestPlanErrors(t *testing.T) {
	fifo := func(path string) file { return file{Entry: Entry{Path: path, Mode: typeFifo}} }
	link := func(path, to string) file { return file{Entry: Entry{Path: path, Link: to}} }
	symlink := func(target string) file { return file{Entry: Entry{Path: "x", Mode: typeLink, Target: target}} }
	device := func(major, minor uint32) file {
		return file{Entry: Entry{Path: "x", Mode: typeChar, Major: major, Minor: minor}}
	}
	attr := func(name, value string) file {
		return file{Entry: Entry{Path: "x", Mode: typeFifo, XAttrs: map[string]string{name: value}}}
	}
	long := strings.Repeat("n", 255)
	many := map[string]string{}
	for i := range 300 {
		many["user."+strings.Repeat("n", 1+i%200)+noiseName(i)[:1]+strings.Repeat("m", i/200)] = text(9000)
	}
	for name, c := range map[string]struct {
		files []file
		want  string
	}{
		"no root":          {[]file{dir("a")}, `"a": no directory ""`},
		"nothing":          {nil, `"": the root directory is missing`},
		"root is a file":   {[]file{fifo("")}, `"": the root directory is missing`},
		"parent missing":   {[]file{dir(""), fifo("a/b")}, `"a/b": no directory "a"`},
		"parent a file":    {[]file{dir(""), fifo("a"), fifo("a/b")}, `"a/b": no directory "a"`},
		"twice":            {[]file{dir(""), fifo("a"), fifo("a")}, `"a": there twice`},
		"link twice":       {[]file{dir(""), fifo("a"), link("a", "a")}, `"a": there twice`},
		"absolute":         {[]file{dir(""), fifo("/a")}, `"/a": empty name`},
		"empty name":       {[]file{dir(""), dir("a"), fifo("a//b")}, `"a//b": empty name`},
		"trailing slash":   {[]file{dir(""), fifo("a/")}, `"a/": empty name`},
		"dot dot":          {[]file{dir(""), fifo("../a")}, `"../a": ".." in the path`},
		"dot":              {[]file{dir(""), fifo("./a")}, `"./a": "." in the path`},
		"zero":             {[]file{dir(""), fifo("a\x00")}, `"a\x00": zero byte`},
		"long name":        {[]file{dir(""), fifo(long + "n")}, "name of 256 bytes"},
		"long path":        {[]file{dir(""), fifo(strings.Repeat("n/", 2048))}, "path of 4096 bytes"},
		"link to later":    {[]file{dir(""), link("x", "y"), fifo("y")}, `"x": hard link to "y"`},
		"link to nothing":  {[]file{dir(""), link("x", "y")}, `"x": hard link to "y"`},
		"link to itself":   {[]file{dir(""), link("x", "x")}, `"x": hard link to "x"`},
		"link to a dir":    {[]file{dir(""), dir("d"), link("x", "d")}, `"x": hard link to "d"`},
		"no type":          {[]file{dir(""), {Entry: Entry{Path: "x", Mode: 0o644}}}, `"x": mode 0644`},
		"no pack":          {[]file{dir(""), {Entry: Entry{Path: "x", Mode: typeReg, Pack: 1}}}, `"x": file 0 of pack 1`},
		"no file":          {[]file{dir(""), {Entry: Entry{Path: "x", Mode: typeReg, File: 7}}}, `"x": file 7 of pack 0`},
		"negative":         {[]file{dir(""), {Entry: Entry{Path: "x", Mode: typeReg, File: -1}}}, `"x": file -1 of pack 0`},
		"target empty":     {[]file{dir(""), symlink("")}, `"x": symbolic link to nothing`},
		"target zero":      {[]file{dir(""), symlink("a\x00")}, `"x": zero byte in the target`},
		"target long":      {[]file{dir(""), symlink(strings.Repeat("a", 4096))}, `"x": symbolic link to a path of 4096`},
		"major":            {[]file{dir(""), device(4096, 0)}, `"x": device 4096:0`},
		"minor":            {[]file{dir(""), device(0, 1<<20)}, `"x": device 0:1048576`},
		"attribute":        {[]file{dir(""), attr("system.posix_acl_access", "")}, `"x": extended attribute "system.posix_acl_access"`},
		"attribute empty":  {[]file{dir(""), attr("user.", "")}, `"x": extended attribute "user."`},
		"attribute long":   {[]file{dir(""), attr("user.a", strings.Repeat("v", maxXAttr+1))}, "65537 bytes"},
		"attribute's name": {[]file{dir(""), attr("user."+long, "")}, "name of 260"},
		"attributes":       {[]file{dir(""), {Entry: Entry{Path: "x", Mode: typeFifo, XAttrs: many}}}, "extended attributes of "},
	} {
		var entries []Entry
		for _, f := range c.files {
			entries = append(entries, f.Entry)
		}
		_, err := Plan(entries, []Pack{{BlockSize: minBlock}}, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// TestPlanOwners: one number too many.
func TestPlanOwners(t *testing.T) {
	entries := []Entry{{Mode: typeDir}}
	for i := range uint32(maxIDs - 1) {
		entries = append(entries, Entry{Path: "f" + string(rune(0x10000+i)), Mode: typeFifo, UID: i + 1, GID: i})
	}
	if _, err := Plan(entries, nil, Options{}); err != nil {
		t.Error(err)
	}
	entries[0].GID = 1 << 31
	if _, err := Plan(entries, nil, Options{}); err == nil || !strings.Contains(err.Error(), "65536 different") {
		t.Errorf("error %v", err)
	}
}

// TestPlanPacks: a description that cannot be true is refused.
func TestPlanPacks(t *testing.T) {
	good := func() Pack {
		return Pack{BlockSize: minBlock, Size: 100, Fragments: []Fragment{{Start: 60, Word: 40}}, Files: []PackedFile{
			{Size: 2*minBlock + 5, Start: 10, Blocks: []uint32{30, 0}, Fragment: 0, FragmentOffset: minBlock - 5},
		}}
	}
	for name, change := range map[string]func(*Pack){
		"block size":       func(p *Pack) { p.BlockSize = 5000 },
		"size":             func(p *Pack) { p.Size = 99 },
		"negative size":    func(p *Pack) { p.Files[0].Size = -1 },
		"block too long":   func(p *Pack) { p.Files[0].Blocks[1] = 100 },
		"block beyond":     func(p *Pack) { p.Files[0].Start = 80 },
		"block before":     func(p *Pack) { p.Files[0].Start = -1 },
		"too few":          func(p *Pack) { p.Files[0].Blocks = nil },
		"too many":         func(p *Pack) { p.Files[0].Blocks = make([]uint32, 3) },
		"fragment":         func(p *Pack) { p.Files[0].Fragment = 1 },
		"fragment missing": func(p *Pack) { p.Files[0].Fragment = -1 },
		"fragment below":   func(p *Pack) { p.Files[0].Fragment = -2 },
		"fragment's end":   func(p *Pack) { p.Files[0].FragmentOffset++ },
		"fragment empty":   func(p *Pack) { p.Fragments[0].Word = 0 },
		"fragment beyond":  func(p *Pack) { p.Fragments[0].Start = 61 },
		"fragment too big": func(p *Pack) { p.Size, p.Fragments[0].Word = 10000, minBlock+1 },
	} {
		p := good()
		root := []Entry{{Mode: typeDir}}
		if _, err := Plan(root, []Pack{p}, Options{}); err != nil {
			t.Fatal(err)
		}
		change(&p)
		if _, err := Plan(root, []Pack{p}, Options{}); err == nil || !strings.Contains(err.Error(), "pack 0: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	other := good()
	other.BlockSize *= 2
	other.Files = nil
	if _, err := Plan([]Entry{{Mode: typeDir}}, []Pack{good(), other}, Options{}); err == nil || !strings.Contains(err.Error(), "pack 1: block size 8192, pack 0 has 4096") {
		t.Errorf("block sizes: error %v", err)
	}
}
