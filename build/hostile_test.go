package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// victim is the image whose layers are hostile: a service's, unpacked beside many others.
const victim = "ghcr.io/x/app:1"

// blobs makes an image with these bytes as its layers, whatever they are.
func blobs(t testing.TB, media types.MediaType, layers ...[]byte) v1.Image {
	t.Helper()
	img := imageOf(t, entrypoint("/app"))
	for _, l := range layers {
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(l, media), MediaType: media}); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// headers makes a tar of headers without contents.
func headers(t testing.TB, list ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, 1024)...)
}

// block is one tar header that no tar writer makes; change may edit it before it gets its checksum.
func block(name string, typeflag byte, change func(b []byte)) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], "00000000000\x0000000000000\x00")
	b[156] = typeflag
	copy(b[257:], "ustar\x0000")
	if change != nil {
		change(b)
	}
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// pax is an extended header with records, key and value in turn, that the tar writer refuses.
func pax(records ...string) []byte {
	var body []byte
	for i := 0; i < len(records); i += 2 {
		rest := " " + records[i] + "=" + records[i+1] + "\n"
		n := len(rest)
		for len(fmt.Sprint(n))+len(rest) != n {
			n++
		}
		body = append(body, fmt.Sprint(n)+rest...)
	}
	out := block("x", tar.TypeXHeader, func(b []byte) { copy(b[124:], fmt.Sprintf("%011o\x00", len(body))) })
	return append(out, append(body, make([]byte, align(int64(len(body)), 512)-int64(len(body)))...)...)
}

func ended(parts ...[]byte) []byte { return append(bytes.Join(parts, nil), make([]byte, 1024)...) }

// hostileLayers are layers that must be refused, by what the refusal says.
func hostileLayers(t testing.TB) map[string]struct {
	layer []byte
	want  string
} {
	t.Helper()
	reg := func(h tar.Header) []byte { h.Typeflag = tar.TypeReg; return headers(t, h) }
	deep := strings.Repeat(strings.Repeat("d", 200)+"/", 15)
	var attributes []string
	for i := range 700 {
		attributes = append(attributes, fmt.Sprintf("SCHILY.xattr.user.%d%s", i, strings.Repeat("n", 100)), "")
	}
	type c = struct {
		layer []byte
		want  string
	}
	return map[string]c{
		"dot dot":               {tarOf(t, f("a/../../etc/passwd=x")...), `entry "a/../../etc/passwd": name with ".."`},
		"absolute":              {tarOf(t, f("/etc/passwd=x")...), "absolute name"},
		"hard link to nothing":  {tarOf(t, f("a=>b")...), `hard link to "b", which is no file here`},
		"hard link to itself":   {tarOf(t, f("a=>a")...), "which is no file here"},
		"hard link to a dir":    {tarOf(t, f("d/", "a=>d")...), "which is no file here"},
		"hard link to the root": {tarOf(t, f("a=>.")...), "which is no file here"},
		"hard link outside":     {tarOf(t, f("a=>../../etc/shadow")...), `hard link: name with ".."`},
		"hard link absolute":    {tarOf(t, f("a=>/etc/shadow")...), "hard link: absolute name"},
		"link loop":             {tarOf(t, f("a->b", "b->a", "a/x=1")...), "too many symbolic links"},
		"link without target":   {block("a", tar.TypeSymlink, nil), "symbolic link without a target"},
		"long target":           {tarOf(t, f("a->"+strings.Repeat("x/", 3000))...), "target of 6000 bytes"},
		"whiteout of nothing":   {tarOf(t, f(".wh.=")...), "whiteout without a name"},
		"whiteout of the dir":   {tarOf(t, f("d/", "d/.wh..=")...), "whiteout without a name"},
		"whiteout of above":     {tarOf(t, f("d/", "d/.wh...=")...), "whiteout without a name"},
		"below a whiteout":      {tarOf(t, f("d/.wh.x/y=1")...), "below a whiteout"},
		"root is a file":        {tarOf(t, f("./.=x")...), "the root is no directory"},
		"root is a link":        {tarOf(t, f(".->/etc")...), "the root is no directory"},
		"end of the archive":    {tarOf(t, f("l->/", "l/TRAILER!!!=x")...), "ends a cpio archive"},
		"long name":             {tarOf(t, f("d/"+strings.Repeat("n", 256)+"=x")...), "name of 256 bytes: Linux takes at most 255"},
		"name of a megabyte":    {tarOf(t, f(strings.Repeat("n", 1<<20-100)+"=x")...), "… (1048476 bytes): path of"},
		"long path":             {tarOf(t, f(strings.Repeat("d/", 3000)+"x=1")...), "Linux takes at most 4095"},
		"long path by links":    {tarOf(t, f(deep, "l->"+deep, "l/"+deep)...), "Linux takes at most 4095"},
		"major":                 {headers(t, tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 4096}), "device 4096:0: Linux knows"},
		"minor":                 {headers(t, tar.Header{Name: "d", Typeflag: tar.TypeBlock, Devminor: 1 << 20}), "device 0:1048576: Linux knows"},
		"negative device":       {headers(t, tar.Header{Name: "d", Typeflag: tar.TypeBlock, Devmajor: -1, Format: tar.FormatGNU}), "device -1:0"},
		"user -1":               {reg(tar.Header{Name: "a", Uid: -1, Format: tar.FormatGNU}), "owner -1"},
		"user 2^32-1":           {reg(tar.Header{Name: "a", Uid: 1<<32 - 1, Format: tar.FormatPAX}), "owner 4294967295"},
		"group 2^40":            {reg(tar.Header{Name: "a", Gid: 1 << 40, Format: tar.FormatPAX}), "owner 1099511627776"},
		"long attribute name":   {ended(pax("SCHILY.xattr.user."+strings.Repeat("n", 300), "v"), block("a", '0', nil)), "extended attribute"},
		"big attribute":         {ended(pax("SCHILY.xattr.user.a", strings.Repeat("v", 70_000)), block("a", '0', nil)), "of 70000 bytes"},
		"many attributes":       {ended(pax(attributes...), block("a", '0', nil)), "with names of more than 65536 bytes together"},
		"unknown type":          {ended(block("a", 'Z', nil)), "unknown tar type"},
		"NUL in the name":       {ended(pax("path", "a\x00b"), block("a", '0', nil)), "read tar"},
		"negative size":         {ended(pax("size", "-1"), block("a", '0', nil)), "read tar"},
		"size beyond all":       {ended(pax("size", "99999999999999999999"), block("a", '0', nil)), "read tar"},
		"8 EiB":                 {ended(block("a", '0', func(b []byte) { copy(b[124:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") })), `entry "a": `},
		"8 EiB less":            {ended(block("a", '0', func(b []byte) { copy(b[124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") })), "read tar"},
		"shorter than it says":  {block("a", '0', func(b []byte) { copy(b[124:], "00000001000") }), "unexpected EOF"},
		"sparse, 60 GiB":        {ended(pax("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,0", "GNU.sparse.size", "64424509440"), block("a", '0', nil)), `entry "a": `},
		"sparse map lies":       {ended(pax("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,999999999999", "GNU.sparse.size", "10"), block("a", '0', nil)), "read tar"},
		"no tar":                {[]byte(strings.Repeat("x", 1024)), "read tar"},
		"no gzip":               {[]byte("\x1f\x8b" + strings.Repeat("x", 1024)), "gzip"},
		"no zstd":               {[]byte("\x28\xb5\x2f\xfd" + strings.Repeat("\xff", 1024)), ""},
		"zstd window of 2 TiB":  {[]byte("\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00"), "window"},
		"zstd window 256 MiB":   {[]byte("\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00"), "window"},
		"zstd, 8 EiB announced": {[]byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x00\x00"), "exceeds"},
	}
}

// TestHostileLayers: each is refused with the names of image and layer, quickly, on one line, and nothing is left.
func TestHostileLayers(t *testing.T) {
	for name, c := range hostileLayers(t) {
		for _, mode := range []string{rootInitrd, rootSquashfs} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				s := rootShelf(t)
				s[victim] = blobs(t, types.OCILayer, tarOf(t, f("base=b")...), c.layer)
				refused(t, s, mode, "image "+victim+": layer 2 of 2 (sha256:", c.want)
			})
		}
	}
}

// TestHostileModules: the archive within the kernel's image gets no more trust.
func TestHostileModules(t *testing.T) {
	for name, c := range hostileLayers(t) {
		if strings.Contains(name, "zstd") || strings.Contains(name, "gzip") {
			continue // that archive is never compressed
		}
		t.Run(name, func(t *testing.T) {
			s := aShelf(t)
			s["lkv/kernel:1"] = imageOf(t, nil, []file{{name: "kernel", body: bzImage()}, {name: "kernel.tar", body: string(c.layer)}})
			refused(t, s, rootInitrd, "image lkv/kernel:1: kernel.tar: ", c.want)
		})
	}
}

// refused builds and wants an error that says all this.
func refused(t *testing.T, s shelf, mode string, want ...string) {
	t.Helper()
	in := smallInput(t, s)
	in.Rootfs = mode
	start := time.Now()
	_, err := Build(t.Context(), in)
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %.300s lacks %q", err, w)
		}
	}
	if text := err.Error(); len(text) > 1000 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' }) {
		t.Errorf("not fit for a terminal: %.300q", text)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("it took %v", d)
	}
	nothingLeft(t, in)
}

// nothingLeft: no output and no temporary file.
func nothingLeft(t *testing.T, in Input) {
	t.Helper()
	for _, dir := range []string{in.Out, filepath.Join(in.Cache, "tmp")} {
		if left := filesIn(t, dir); left != "" {
			t.Errorf("left in %s: %s", dir, left)
		}
	}
}

// TestNoLayer: what is no layer of files is refused by its media type; what only looks odd is built.
func TestNoLayer(t *testing.T) {
	plain := tarOf(t, f("app=a")...)
	for media, want := range map[types.MediaType]string{
		"application/vnd.oci.image.layer.v1.tar+gzip+encrypted":   "it is encrypted",
		"application/vnd.in-toto+json":                            "is no tar archive",
		"application/octet-stream":                                "is no tar archive",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":       "",
		"application/vnd.docker.image.rootfs.foreign.diff.tar":    "",
		"application/vnd.oci.image.layer.nondistributable.v1.tar": "",
	} {
		for _, mode := range []string{rootInitrd, rootSquashfs} {
			s := rootShelf(t)
			s[victim] = blobs(t, media, plain)
			if want != "" {
				refused(t, s, mode, "image "+victim+": layer 1 of 1 (sha256:", want, string(media))
				continue
			}
			in := smallInput(t, s)
			in.Rootfs = mode
			mustBuild(t, in)
		}
	}
}

// TestOddImages: nothing is wrong with no layer, with one layer many times, or with a stream of empty gzip members.
func TestOddImages(t *testing.T) {
	one := tarOf(t, f("app=a")...)
	many := make([][]byte, 300)
	for i := range many {
		many[i] = one
	}
	member := []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for name, layers := range map[string][][]byte{"none": nil, "many": many, "empty members": {bytes.Repeat(member, 200_000)}, "empty": {nil}} {
		for _, mode := range []string{rootInitrd, rootSquashfs, rootCD} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				s := rootShelf(t)
				s[victim] = blobs(t, types.OCILayer, layers...)
				in := smallInput(t, s)
				in.Rootfs = mode
				mustBuild(t, in)
			})
		}
	}
}
