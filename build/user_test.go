package build

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	somePasswd = "root:x:0:0:root:/root:/bin/sh\n# not a row\nnginx:x:101:102::/:/bin/false\n1000:x:7:8::/:/bin/sh\nfour:x:4:44\nbad:x:y:1\n"
	someGroup  = "root:x:0:\nadm:x:4:nginx,four\nnginx:x:102:nginx\nweb:x:300:a,nginx\nodd:x:q:nginx\nshort:x\n"
)

func TestRunAs(t *testing.T) {
	for user, c := range map[string]struct {
		want specs.User
		err  string
	}{
		"nginx":      {want: specs.User{UID: 101, GID: 102, AdditionalGids: []uint32{4, 300}}},
		"101":        {want: specs.User{UID: 101, GID: 102, AdditionalGids: []uint32{4, 300}}},
		"nginx:web":  {want: specs.User{UID: 101, GID: 300}},
		"nginx:9":    {want: specs.User{UID: 101, GID: 9}},
		"5000":       {want: specs.User{UID: 5000}},
		"5000:5001":  {want: specs.User{UID: 5000, GID: 5001}},
		"4294967295": {want: specs.User{UID: 1<<32 - 1}},
		"1000":       {want: specs.User{UID: 7, GID: 8}}, // a name made of digits comes first
		"root":       {want: specs.User{}},
		"":           {want: specs.User{UID: 3}},
		"nobody":     {err: `the image's USER "nobody": no such user in its /etc/passwd`},
		"-1":         {err: "no such user"},
		"4294967296": {err: "no such user"},
		"bad":        {err: "no such user"},
		"nginx:none": {err: `USER "nginx:none": no such group in its /etc/group`},
		"nginx:":     {err: "no such group"},
		":":          {err: "no such user"},
	} {
		b := bundle{user: user, oci: specs.Spec{Process: &specs.Process{User: specs.User{}}}}
		if user == "" {
			b.oci.Process.User.UID = 3
		}
		err := b.runAs([]byte(somePasswd), []byte(someGroup))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", user, err, c.err)
			}
			continue
		}
		if d := cmp.Diff(c.want, b.oci.Process.User); err != nil || d != "" {
			t.Errorf("%q: %v\n%s", user, err, d)
		}
	}
}

func TestRunAsKeepsTheYAMLsGroups(t *testing.T) {
	b := bundle{user: "nginx", oci: specs.Spec{Process: &specs.Process{User: specs.User{AdditionalGids: []uint32{9}}}}}
	if err := b.runAs([]byte(somePasswd), []byte(someGroup)); err != nil || len(b.oci.Process.User.AdditionalGids) != 1 {
		t.Errorf("%v, %v", b.oci.Process.User, err)
	}
}

func TestImageUser(t *testing.T) {
	var id any = 5
	own, grouped := &moby.Image{}, &moby.Image{}
	own.UID, grouped.GID = &id, &id
	for _, c := range []struct {
		e           *moby.Image
		user, label string
		want        string
	}{
		{&moby.Image{}, "nginx", "", "nginx"},
		{&moby.Image{}, "", "", ""},
		{own, "nginx", "", ""},
		{grouped, "nginx", "", ""},
		{&moby.Image{}, "nginx", `{"uid": 1}`, ""},
		{&moby.Image{}, "nginx", `{"gid": 1}`, ""},
		{&moby.Image{}, "nginx", `{"net": "host"}`, "nginx"},
	} {
		if got, err := imageUser(c.e, c.user, c.label); err != nil || got != c.want {
			t.Errorf("USER %q, label %q: %q, %v, want %q", c.user, c.label, got, err, c.want)
		}
	}
	if _, err := imageUser(&moby.Image{}, "nginx", "["); err == nil {
		t.Error("a broken label passed")
	}
}

func TestNumericUser(t *testing.T) {
	for user, want := range map[string]bool{"1:2": true, "0:0": true, "1": false, "a:1": false, "1:a": false, "": false, ":": false, "1:2:3": false, "-1:1": false} {
		if got := numericUser(user); got != want {
			t.Errorf("%q: %v", user, got)
		}
	}
}

// TestImageUserReachesTheContainer: the whole way from an image to config.json.
func TestImageUserReachesTheContainer(t *testing.T) {
	s := aShelf(t)
	in := smallInput(t, s)
	c, err := load(in)
	if err != nil {
		t.Fatal(err)
	}
	e := c.containers()[0]
	img, _, err := in.Images.Image(t.Context(), e.Image.Image)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf.Config.User = "1000:1001"
	b, err := c.bundle(e, resolved{ref: e.Image.Image, img: img, config: *cf})
	if err != nil || b.oci.Process.User.UID != 1000 || b.oci.Process.User.GID != 1001 {
		t.Errorf("%+v, %v", b.oci.Process.User, err)
	}
}

// TestUserByName: a name is looked up in the image's own files, also when they come from the cache.
func TestUserByName(t *testing.T) {
	s := aShelf(t)
	s["ghcr.io/x/app:1"] = imageOf(t, func(c *v1.ConfigFile) { c.Config.Cmd, c.Config.User = []string{"/app"}, "nginx" },
		[]file{{name: "app", body: "app", mode: 0o755}, {name: "etc/passwd", body: somePasswd}, {name: "etc/group", body: someGroup}})
	in := smallInput(t, s)
	for range 2 {
		in.Out = t.TempDir()
		config := bodies(readNewc(t, inflate(t, initrdOf(t, mustBuild(t, in).ISO))))["containers/services/app/config.json"]
		var spec specs.Spec
		if err := json.Unmarshal([]byte(config), &spec); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(specs.User{UID: 101, GID: 102, AdditionalGids: []uint32{4, 300}}, spec.Process.User); d != "" {
			t.Error(d)
		}
	}
	s["ghcr.io/x/app:1"] = imageOf(t, func(c *v1.ConfigFile) { c.Config.Cmd, c.Config.User = []string{"/app"}, "nobody" }, []file{{name: "app", body: "app"}})
	if _, err := Build(t.Context(), in); err == nil || !strings.Contains(err.Error(), "services app: image ghcr.io/x/app:1: the image's USER \"nobody\"") {
		t.Error(err)
	}
}
