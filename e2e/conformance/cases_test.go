package conformance

import (
	"archive/tar"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// base is a kernel and an init image.
const base = "kernel:\n  image: t/kernel:1\n  cmdline: \"console=ttyS0 quiet\"\n  ucode: intel-ucode.cpio\ninit:\n- t/init:1\n"

func basics(t testing.TB) map[string]v1.Image {
	return map[string]v1.Image{
		"t/kernel:1": kernelImage(t),
		"t/init:1": imageOf(t, v1.Config{}, entries{{name: "bin/"}, {name: "bin/busybox", body: "box", mode: 0o4755}, {name: "bin/sh->busybox"},
			{name: "init", body: "#!/bin/sh\n", mode: 0o755}, {name: "etc/"}, {name: "etc/init.d/"}, {name: "etc/init.d/010-onboot", body: "x", mode: 0o755},
			{name: "etc/passwd", body: "root:x:0:0::/:/bin/sh\n"}, {name: "root/", mode: 0o700}, {name: "tmp/", mode: 0o1777}, {name: "var/"}}),
	}
}

// one is a job with one service of one image.
func one(name string, c v1.Config, layers ...entries) func(testing.TB) job {
	return func(t testing.TB) job {
		ref := "t/" + name + ":1"
		return job{yaml: []string{base + "services:\n- name: app\n  image: " + ref + "\n"}, images: map[string]v1.Image{ref: imageOf(t, c, layers...)}}
	}
}

// Names that begin with "gone-" must not exist in a container; LinuxKit's opaque whiteouts leave them there.
var cases = []struct {
	name string
	make func(testing.TB) job
}{
	{"plain", one("plain", run, entries{{name: "./", mode: 0o750, uid: 7, gid: 8}, {name: "app", body: "app", mode: 0o755}, {name: "empty"}, {name: "etc/"},
		{name: "etc/app.conf", body: "a=b\n"}, {name: "data/"}, {name: "data/x", body: strings.Repeat("x", 70000)}})},
	{"whiteouts", one("whiteouts", run,
		entries{{name: "a"}, {name: "gone-file"}, {name: "gone-dir/"}, {name: "gone-dir/x"}, {name: "b/"}, {name: "b/gone-1"}, {name: "b/gone-2/"}, {name: "b/gone-2/y"},
			{name: "c/"}, {name: "c/kept-x", body: "old"}, {name: "d/"}, {name: "d/keep"}, {name: "d/gone-3"}, {name: "h"}, {name: "h2=>h"}, {name: "kept-t"}},
		entries{{name: ".wh.gone-file"}, {name: ".wh.gone-dir"}, {name: "b/"}, {name: "b/.wh..wh..opq"}, {name: "b/new"}, {name: "d/.wh.gone-3"}, {name: ".wh.never-there"},
			{name: "c/.wh.kept-x"}, {name: "c/kept-x/"}, {name: "c/kept-x/inside"}, {name: ".wh.h"}, {name: ".wh.kept-t"}, {name: "kept-t/"}, {name: "kept-t/u"}},
		entries{{name: "e/"}, {name: "e/.wh..wh..opq"}, {name: "e/f"}, {name: "h", body: "again"}})},
	{"hard links", one("hardlinks", run, entries{{name: "bin/"}, {name: "bin/a", body: "tool", mode: 0o4755}, {name: "bin/b=>bin/a"}, {name: "sbin/"}, {name: "sbin/c=>bin/a"}, {name: "z", body: "z"}},
		entries{{name: "new/"}, {name: "new/z=>z"}, {name: "bin/d=>bin/a"}})},
	{"hard link replaced", one("hardreplaced", run, entries{{name: "a", body: "first"}, {name: "b=>a"}}, entries{{name: "a", body: "second"}})},
	{"links as directories", one("dirlinks", run,
		entries{{name: "usr/"}, {name: "usr/lib/"}, {name: "usr/lib/a"}, {name: "lib->usr/lib"}, {name: "abs->/usr"}, {name: "up/"}, {name: "up/l->../usr"}, {name: "dangling->nowhere"}},
		entries{{name: "lib/b"}, {name: "abs/c"}, {name: "up/l/d"}, {name: "usr/lib/a", body: "new"}})},
	{"link becomes directory", one("linkdir", run, entries{{name: "usr/"}, {name: "kept-l->usr"}, {name: "kept-d/"}, {name: "kept-d/gone-x"}, {name: "kept-f"}},
		entries{{name: ".wh.kept-l"}, {name: "kept-l/"}, {name: "kept-l/x"}, {name: ".wh.kept-d"}, {name: "kept-d->usr"}, {name: ".wh.kept-f"}, {name: "kept-f/"}, {name: "kept-f/y"}})},
	{"types", one("types", run, entries{{name: "null", kind: tar.TypeChar, dev: [2]int64{1, 3}, mode: 0o666}, {name: "disk", kind: tar.TypeBlock, dev: [2]int64{259, 70000}, mode: 0o660, gid: 6},
		{name: "fifo", kind: tar.TypeFifo, mode: 0o600}, {name: "suid", mode: 0o4755}, {name: "sgid", mode: 0o2755}, {name: "sticky/", mode: 0o1777}, {name: "rare", mode: 0o7531},
		{name: "link->target", uid: 5, gid: 6}})},
	{"owners and names", one("owners", run, entries{{name: "nobody", uid: 65534, gid: 65534}, {name: "big", uid: 2_000_000_000, gid: 3_000_000_000}, {name: "max", uid: 1<<32 - 2, gid: 1<<32 - 2},
		{name: "with space", body: "x"}, {name: "ünï→", body: "y"}, {name: "new\nline"}, {name: "back\\slash"}, {name: strings.Repeat("n", 255)},
		{name: "long/"}, {name: "long/" + strings.Repeat("m", 200) + "/"}, {name: "long/" + strings.Repeat("m", 200) + "/" + strings.Repeat("o", 150)}, {name: "longlink->" + strings.Repeat("t/", 500)}})},
	{"times", one("times", run, entries{{name: "old", mtime: time.Unix(1, 0)}, {name: "future", mtime: time.Unix(4_000_000_000, 0)}, {name: "nano", mtime: time.Unix(1_700_000_000, 999_999_999)},
		{name: "etc/", mtime: time.Unix(1_600_000_000, 0)}})},
	{"parents missing", one("parents", run, entries{{name: "x/y/z"}, {name: "app"}}, entries{{name: "x/y/w"}, {name: "v/"}, {name: "v/k"}})},
	{"twice in a layer", one("twice", run, entries{{name: "twice-f", body: "one"}, {name: "twice-f", body: "two", mode: 0o600}, {name: "twice-d/"}, {name: "twice-d/x"}, {name: "twice-d/", mode: 0o700}, {name: "./g"}, {name: "app"}})},
	{"standard names", one("standard", run, entries{{name: "dev/", mode: 0o700, uid: 3}, {name: "dev/console", kind: tar.TypeChar, dev: [2]int64{5, 1}}, {name: "dev/pts/", mode: 0o700}, {name: "dev/pts/0"},
		{name: "dev/shm/", mode: 0o1777}, {name: "dev/x"}, {name: "etc/", mode: 0o750, gid: 9}, {name: "etc/hosts", body: "mine", mode: 0o600, uid: 4}, {name: "etc/hostname"}, {name: "etc/resolv.conf", body: "mine"},
		{name: "etc/mtab", body: "mine"}, {name: ".dockerenv"}, {name: "Dockerfile"}, {name: "proc/", mode: 0o555}, {name: "proc/x"}, {name: "sys/", mode: 0o555}, {name: "sub/"}, {name: "sub/Dockerfile"}})},
	{"init standard names", func(t testing.TB) job {
		return job{yaml: []string{strings.Replace(base, "t/init:1", "t/init-std:1", 1)}, images: map[string]v1.Image{"t/init-std:1": imageOf(t, v1.Config{}, entries{
			{name: "init", mode: 0o755}, {name: "etc/", mode: 0o750}, {name: "etc/resolv.conf", body: "mine"}, {name: "etc/hosts", body: "mine"}, {name: "dev/", mode: 0o700}, {name: "proc/", mode: 0o555}})}}
	}},
	{"file capabilities", one("filecaps", run, entries{{name: "ping", mode: 0o755, xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		{name: "attr", xattrs: map[string]string{"user.note": "n"}}})},
	{"same image many times", func(t testing.TB) job {
		img := imageOf(t, run, files("app", "etc/", "etc/conf"))
		ro := imageOf(t, run, files("app", "ro"))
		return job{images: map[string]v1.Image{"t/same:1": img, "t/same:other": img, "t/ro:1": ro}, yaml: []string{base +
			"onboot:\n- {name: a, image: t/same:1}\n- {name: a, image: t/same:1}\n- {name: b, image: t/ro:1, readonly: true}\nonshutdown:\n- {name: c, image: t/same:1, readonly: true}\n" +
			"services:\n- {name: d, image: t/same:1}\n- {name: e, image: t/ro:1}\n- {name: f, image: t/same:other}\n- {name: g, image: t/ro:1, readonly: true}\n"}}
	}},
	{"image configuration", func(t testing.TB) job {
		full := v1.Config{Entrypoint: []string{"/app"}, Cmd: []string{"-x"}, Env: []string{"PATH=/bin", "A=b c"}, WorkingDir: "/work", Volumes: map[string]struct{}{"/v": {}},
			Labels: map[string]string{"org.mobyproject.config": `{"capabilities":["CAP_NET_ADMIN"],"binds":["/etc/x:/etc/x"],"net":"host","runtime":{"mkdir":["/var/x"],"cgroups":["systemreserved"]}}`}}
		return job{images: map[string]v1.Image{"t/config:1": imageOf(t, full, files("app"))}, yaml: []string{base + `services:
- {name: plain, image: "t/config:1"}
- name: own
  image: t/config:1
  command: [/app, y]
  env: [Z=1]
  cwd: /tmp
  capabilities: [all]
  binds.add: [/dev:/dev]
  capabilities.add: [CAP_SYS_ADMIN]
  uid: plain
  gid: 12
  additionalGids: [own, 3]
  readonly: true
  pid: host
  tmpfs: ["/tmp:rw,size=1m"]
  mounts: [{type: tmpfs, source: t, destination: /mnt, options: [ro]}]
  devices: [{path: /dev/null, type: c, major: 1, minor: 3, mode: "0666"}]
  sysctl: {net.ipv4.ip_forward: "1"}
  rlimits: ["nofile,100,200"]
  resources: {memory: {limit: 1000000}, cpu: {shares: 3}, pids: {limit: 9}}
  annotations: {a: b}
  hostname: h
  oomScoreAdj: -5
  noNewPrivileges: true
  maskedPaths: [/proc/kcore]
  readonlyPaths: [/proc/sys]
  rootfsPropagation: shared
  cgroupsPath: /x
  runtime: {mounts: [{type: bind, source: /a, destination: /b}], interfaces: [{name: e, add: veth, peer: p}], bindNS: {net: /run/netns/x}, namespace: n}
`}}
	}},
	{"image USER", func(t testing.TB) job {
		img := imageOf(t, v1.Config{Cmd: []string{"/app"}, User: "1000:1001"}, files("app"))
		return job{images: map[string]v1.Image{"t/user:1": img}, yaml: []string{base + "services:\n- {name: user, image: t/user:1}\n- {name: own, image: t/user:1, uid: 5}\n"}}
	}},
	{"image USER by name", func(t testing.TB) job {
		img := imageOf(t, v1.Config{Cmd: []string{"/bin/sh"}, User: "web"}, append(files("bin/sh"),
			ent{name: "etc/passwd", body: "root:x:0:0::/:\nweb:x:33:34::/:\n"}, ent{name: "etc/group", body: "web:x:34:\ntty:x:5:web\n"}))
		return job{images: map[string]v1.Image{"t/named:1": img}, yaml: []string{base + "services:\n- {name: named, image: t/named:1}\n"}}
	}},
	{"files", func(t testing.TB) job {
		return job{images: map[string]v1.Image{}, yaml: []string{base + `services:
- {name: app, image: t/filesapp:1}
files:
- {path: etc/motd, contents: "hello\n"}
- {path: etc/secret/key, contents: k, mode: "0600", uid: app, gid: 50}
- {path: /new/dir, directory: true, mode: "0750"}
- {path: plain/dir, directory: true}
- {path: etc/alias, symlink: /etc/motd}
- {path: bin/sh, contents: "replaced\n", mode: "0755"}
- {path: root/x, contents: ""}
- {path: opt/none, source: no-such-file, optional: true}
- {path: etc/linuxkit.json, metadata: json}
- {path: etc/motd, contents: "again\n", mode: "0644"}
`}}
	}},
	{"several init images", func(t testing.TB) job {
		apk := func(p string) string { return "P:" + p + "\nV:1\n\n" }
		return job{images: map[string]v1.Image{
			"t/init-a:1": imageOf(t, v1.Config{}, entries{{name: "usr/"}, {name: "usr/lib/"}, {name: "lib->usr/lib"}, {name: "bin/"}, {name: "bin/a", body: "a"}, {name: "bin/b=>bin/a"},
				{name: "opt/", mode: 0o700}, {name: "swap"}}),
			"t/init-b:1": imageOf(t, v1.Config{}, entries{{name: "lib/"}, {name: "lib/b.so"}, {name: "bin/"}, {name: "bin/a", body: "other"}, {name: "opt/", mode: 0o750}, {name: "swap->bin/a"}}),
			"t/apk-a:1":  imageOf(t, v1.Config{}, entries{{name: "lib/"}, {name: "lib/apk/"}, {name: "lib/apk/db/"}, {name: "lib/apk/db/installed", body: apk("a")}, {name: "init"}}),
			"t/apk-b:1":  imageOf(t, v1.Config{}, entries{{name: "lib/"}, {name: "lib/apk/"}, {name: "lib/apk/db/"}, {name: "lib/apk/db/installed", body: apk("b")}}),
		}, yaml: []string{strings.Replace(base, "- t/init:1\n", "- t/init-a:1\n- t/init-b:1\n", 1)}}
	}},
	{"apk databases", func(t testing.TB) job {
		return job{yaml: []string{strings.Replace(base, "- t/init:1\n", "- t/apk-a:1\n- t/apk-b:1\n", 1)}}
	}},
	{"several YAML files", func(t testing.TB) job {
		return job{images: map[string]v1.Image{"t/kernel2:1": kernelImage(t)}, yaml: []string{base + "onboot:\n- {name: a, image: t/same:1}\nservices:\n- {name: s, image: t/same:1}\nfiles:\n- {path: etc/a, contents: a}\n",
			"kernel: {image: t/kernel2:1, cmdline: other}\nonboot:\n- {name: a, image: t/ro:1, uid: s}\nservices:\n- {name: u, image: t/ro:1, uid: u}\nfiles:\n- {path: etc/a, contents: b}\n"}}
	}},
	{"kernel without modules", func(t testing.TB) job {
		return job{images: map[string]v1.Image{"t/bare:1": imageOf(t, v1.Config{}, entries{{name: "bzImage", body: bzImage()}})},
			yaml: []string{"kernel: {image: t/bare:1, binary: bzImage, tar: none}\ninit: [t/init:1]\n"}}
	}},
	{"persist", func(t testing.TB) job {
		rest := "- {name: a, image: t/same:1}\nservices:\n- {name: s, image: t/same:1, uid: s}\nfiles:\n- {path: etc/mine, contents: x, uid: s}\n"
		return job{hcl: "  persist \"/srv/data\" {\n    label = \"data\"\n  }\n", yaml: []string{base + "onboot:\n" + rest},
			linuxkit: []string{base + `onboot:
- name: persist-0
  image: lkv/persist:1
  command: [/usr/bin/lkv-guest, persist, --mount, /srv/data, --label, data, --filesystem, ext4]
  binds.add: ["/srv:/srv:rshared"]
  annotations: {lkv.required: "true"}
` + rest}}
	}},
	{"references", func(t testing.TB) job {
		app := imageOf(t, run, files("app"))
		return job{images: map[string]v1.Image{"registry.example/a/b:1": app, "t/plain": app, "single": app},
			yaml: []string{base + "services:\n- {name: a, image: \"registry.example/a/b:1\"}\n- {name: b, image: t/plain}\n- {name: c, image: single}\n"}}
	}},
}

// shared are images several cases use.
func shared(t testing.TB) map[string]v1.Image {
	m := basics(t)
	m["t/filesapp:1"] = imageOf(t, run, files("app"))
	return m
}
