package build

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
)

// persistShelf adds LinuxKit's own disk images.
func persistShelf(t testing.TB) shelf {
	s := aShelf(t)
	s[FormatImage] = imageOf(t, entrypoint("/usr/bin/format"), []file{{name: "usr/bin/format", body: "f", mode: 0o755}})
	s[MountImage] = imageOf(t, entrypoint("/usr/bin/mountie"), []file{{name: "usr/bin/mountie", body: "m", mode: 0o755}})
	s["linuxkit/format:v1"], s["linuxkit/mount:v1"] = s[FormatImage], s[MountImage]
	return s
}

// resolvedConfig loads YAML and resolves its containers without building anything.
func resolvedConfig(t testing.TB, in Input) *builder {
	t.Helper()
	in, err := in.check()
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{Input: in}
	if b.config, err = load(in); err != nil {
		t.Fatal(err)
	}
	if err := b.resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.bundles, err = b.config.bundles(b.images); err != nil {
		t.Fatal(err)
	}
	return b
}

func onboot(b *builder) (names, commands []string, required []bool) {
	for _, x := range b.bundles {
		if x.section == "onboot" {
			names = append(names, x.Name)
			commands = append(commands, strings.Join(x.oci.Process.Args, " "))
			required = append(required, x.oci.Annotations[report.Required] == "true")
		}
	}
	return names, commands, required
}

func TestExpand(t *testing.T) {
	in := smallInput(t, persistShelf(t))
	in.Persist = []Persist{
		{Mount: "/var/lib/docker", Label: "docker", Filesystem: "xfs", Options: []string{"noatime", "discard"}},
		{Mount: "/var/lib/db", Label: "db", Via: "linuxkit"},
		{Mount: "/data", Label: "data"},
	}
	b := resolvedConfig(t, in)
	names, commands, required := onboot(b)
	if d := cmp.Diff([]string{"persist-0", "persist-format-1", "persist-mount-1", "persist-gate-1", "persist-2", "dhcp"}, names); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{
		"/usr/bin/lkv-guest persist --mount /var/lib/docker --label docker --filesystem xfs --options noatime,discard",
		"/usr/bin/format -label db -type ext4",
		"/usr/bin/mountie -label db /var/lib/db",
		"/usr/bin/lkv-guest gate --mount /var/lib/db --label db",
		"/usr/bin/lkv-guest persist --mount /data --label data --filesystem ext4",
		"/dhcp",
	}, commands); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]bool{true, false, false, true, true, false}, required); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]manifest.Persist{
		{Mount: "/var/lib/docker", Label: "docker", Filesystem: "xfs", Via: "lkv", Gated: true},
		{Mount: "/var/lib/db", Label: "db", Filesystem: "ext4", Via: "linuxkit", Gated: true},
		{Mount: "/data", Label: "data", Filesystem: "ext4", Via: "lkv", Gated: true},
	}, b.disks()); d != "" {
		t.Error(d)
	}
	var binds []string
	for _, m := range b.bundles[4].oci.Mounts {
		if m.Type == "bind" {
			binds = append(binds, m.Source+":"+m.Destination+":"+strings.Join(m.Options, ","))
		}
	}
	if d := cmp.Diff([]string{"/data:/data:rshared,rbind"}, binds); d != "" {
		t.Error(d)
	}
}

// TestPersistLeavesIdsAlone: files on existing disks belong to numbers that a new persist block must not shift.
func TestPersistLeavesIdsAlone(t *testing.T) {
	in := smallInput(t, persistShelf(t))
	in.YAML[0].Data = []byte(strings.Replace(smallYAML, "    image: ghcr.io/x/app:1\n", "    image: ghcr.io/x/app:1\n    uid: app\n", 1))
	uid := func(in Input) uint32 {
		for _, x := range resolvedConfig(t, in).bundles {
			if x.Name == "app" {
				return x.oci.Process.User.UID
			}
		}
		t.Fatal("no app")
		return 0
	}
	before := uid(in)
	in.Persist = []Persist{{Mount: "/var/lib/docker", Label: "docker"}}
	if after := uid(in); before != 101 || after != before {
		t.Errorf("uid was %d and became %d, want 101", before, after)
	}
}

func TestRecognise(t *testing.T) {
	const head = "kernel: {image: \"lkv/kernel:1\"}\nonboot:\n"
	for name, c := range map[string]struct {
		yaml string
		want []manifest.Persist
	}{
		"stock": {`- {name: format, image: "linuxkit/format:v1", command: ["/usr/bin/format", "-label", "x", "-type", "xfs"]}
- {name: mount, image: "linuxkit/mount:v1", command: ["/usr/bin/mountie", "-label", "x", "/var/lib/docker"]}
`, []manifest.Persist{{Mount: "/var/lib/docker", Label: "x", Filesystem: "xfs", Via: "yaml"}}},
		"bare": {`- {name: format, image: "linuxkit/format:v1"}
- {name: mount, image: "linuxkit/mount:v1", command: ["/usr/bin/mountie", "/var/lib/docker"]}
`, []manifest.Persist{{Mount: "/var/lib/docker", Filesystem: "ext4", Via: "yaml"}}},
		"forced": {`- {name: format, image: "linuxkit/format:v1", command: ["/usr/bin/format", "--force", "-label=x", "/dev/sda"]}
- {name: mount, image: "linuxkit/mount:v1", command: ["/usr/bin/mountie", "/dev/sda1", "/var"]}
`, []manifest.Persist{{Mount: "/var", Filesystem: "ext4", Via: "yaml", Force: true}}},
		"forced beside ours": {`- {name: format, image: "linuxkit/format:v1", command: ["/usr/bin/format", "-force", "/dev/sda"]}
- {name: p, image: "lkv/persist:1", command: ["/usr/bin/lkv-guest", "persist", "--mount", "/srv", "--label", "x"], annotations: {lkv.required: "true"}}
`, []manifest.Persist{{Mount: "/srv", Label: "x", Filesystem: "ext4", Via: "lkv", Gated: true, Force: true}}},
		"not forced": {`- {name: format, image: "linuxkit/format:v1", command: ["/usr/bin/format", "-force=false", "/dev/sda"]}
- {name: mount, image: "linuxkit/mount:v1", command: ["/usr/bin/mountie", "-label=l", "/var"]}
`, []manifest.Persist{{Mount: "/var", Label: "l", Filesystem: "ext4", Via: "yaml"}}},
		"gated by hand": {`- {name: mount, image: "linuxkit/mount:v1", command: ["/usr/bin/mountie", "-label", "x", "/var/lib/docker"]}
- {name: gate, image: "lkv/persist:1", command: ["/usr/bin/lkv-guest", "gate", "--mount", "/var/lib/docker"], annotations: {lkv.required: "true"}}
`, []manifest.Persist{{Mount: "/var/lib/docker", Label: "x", Filesystem: "ext4", Via: "yaml", Gated: true}}},
		"gate without teeth": {`- {name: mount, image: "linuxkit/mount:v1", command: ["/usr/bin/mountie", "-label", "x", "/var/lib/docker"]}
- {name: gate, image: "lkv/persist:1", command: ["/usr/bin/lkv-guest", "gate", "--mount", "/var/lib/docker"]}
`, []manifest.Persist{{Mount: "/var/lib/docker", Label: "x", Filesystem: "ext4", Via: "yaml"}}},
		"ours by hand": {`- {name: p, image: "lkv/persist:1", command: ["/usr/bin/lkv-guest", "persist", "--mount=/srv", "--disk-uuid", "6000c29"], annotations: {lkv.required: "true"}}
`, []manifest.Persist{{Mount: "/srv", UUID: "6000c29", Filesystem: "ext4", Via: "lkv", Gated: true}}},
		"nothing": {`- {name: dhcp, image: "lkv/dhcp:1"}
`, []manifest.Persist{}},
	} {
		t.Run(name, func(t *testing.T) {
			in := smallInput(t, persistShelf(t))
			in.YAML = []Source{{"w.yml", []byte(head + c.yaml)}}
			if d := cmp.Diff(c.want, resolvedConfig(t, in).disks()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReferences(t *testing.T) {
	in := smallInput(t, nil)
	in.Persist = []Persist{{Mount: "/var/lib/docker", Label: "docker"}}
	got, err := References(in)
	want := []string{"lkv/kernel:1", "lkv/init:1", "lkv/runc:1", "lkv/persist:1", "lkv/dhcp:1", "ghcr.io/x/app:1", "lkv/boot:1"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
}

func TestInputIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Input)
		want   string
	}{
		"name":       {func(in *Input) { in.Name = "../x" }, "image name"},
		"arch":       {func(in *Input) { in.Arch = "arm64" }, "only amd64"},
		"compress":   {func(in *Input) { in.Compress = "much" }, `compress "much"`},
		"no boot":    {func(in *Input) { in.Boot = nil }, "boot is empty"},
		"boot":       {func(in *Input) { in.Boot = []string{"coreboot"} }, `boot "coreboot"`},
		"no YAML":    {func(in *Input) { in.YAML = nil }, "no LinuxKit YAML"},
		"mount":      {func(in *Input) { in.Persist = []Persist{{Mount: "var", Label: "x"}} }, `persist "var": give an absolute path`},
		"root":       {func(in *Input) { in.Persist = []Persist{{Mount: "/", Label: "x"}} }, `persist "/"`},
		"no label":   {func(in *Input) { in.Persist = []Persist{{Mount: "/a"}} }, `label ""`},
		"long label": {func(in *Input) { in.Persist = []Persist{{Mount: "/a", Label: "0123456789abc", Filesystem: "xfs"}} }, "1 to 12 letters"},
		"filesystem": {func(in *Input) { in.Persist = []Persist{{Mount: "/a", Label: "x", Filesystem: "ntfs"}} }, `filesystem "ntfs"`},
		"via":        {func(in *Input) { in.Persist = []Persist{{Mount: "/a", Label: "x", Via: "me"}} }, `via "me"`},
		"options": {func(in *Input) {
			in.Persist = []Persist{{Mount: "/a", Label: "x", Via: "linuxkit", Options: []string{"ro"}}}
		}, "knows no options"},
	} {
		t.Run(name, func(t *testing.T) {
			in := smallInput(t, shelf{})
			c.change(&in)
			_, err := Build(t.Context(), in)
			if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
