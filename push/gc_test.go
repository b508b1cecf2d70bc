package push

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// pushed brings several ISOs to the stores, one after the other an hour apart, and returns their digests.
func pushed(t *testing.T, contents []string, list ...*center) []string {
	t.Helper()
	var sums []string
	for i, content := range contents {
		in, sum := build(t, content, stores(list...)...)
		in.Now, in.Nonce = now.Add(time.Duration(i)*time.Hour), content
		if _, err := Push(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
	}
	return sums
}

// forget shortens a channel's memory to where it stands.
func forget(t *testing.T, list ...*center) {
	t.Helper()
	for _, c := range list {
		ch, err := ReadChannel(t.Context(), c, "worker", "latest")
		if err != nil {
			t.Fatal(err)
		}
		ch.Previous = nil
		if c.files[ChannelPath("worker", "latest")], err = json.Marshal(ch); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *center) has(digest string) bool { return c.files[ISOPath("worker", digest)] != nil }

func cleaning(list ...*center) Cleaning {
	return Cleaning{Images: []string{"worker"}, Stores: stores(list...), OlderThan: time.Hour, Now: now.Add(100 * time.Hour)}
}

// What a channel, its history, the spec or a VM names stays, on every store whichever names it; the rest goes.
func TestCleanRemovesWhatNobodyNames(t *testing.T) {
	list := behind("a", "a1", "a2")
	sums := pushed(t, []string{"v0", "v1", "v2", "v3", "v4", "v5"}, list...)
	forget(t, list...)

	list[1].used = map[string]string{"[other name] /vmfs/1234/" + sums[1] + ".iso": "web-1", "[vm-1] web-1/web-1.vmdk": "web-1"}
	c := cleaning(list...)
	c.Keep = []string{sums[2]}
	p := Promotion{Image: "worker", Channel: "stable", Owner: "ci", Nonce: "p", Now: now, Stores: stores(list[0])}
	for _, p.Digest = range []string{sums[3], sums[4]} { // v3 is history, on one store only
		if err := Promote(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	list[0].files["worker/notes.txt"], list[0].files["worker/"+sums[0]+".iso.bak"] = []byte("mine"), []byte("mine")

	c.DryRun = true
	removed, kept, err := Clean(t.Context(), c)
	if err != nil || len(removed) != 2 || len(kept) != 10 || len(list[0].removed)+len(list[1].removed) > 0 {
		t.Fatalf("dry run: %v\n%+v\n%+v", err, removed, kept)
	}
	c.DryRun = false
	removed, kept, err = Clean(t.Context(), c)
	if err != nil || len(removed) != 2 || removed[0].SHA256 != sums[0] || removed[1].Store != "a2" || removed[0].Bytes < 2 {
		t.Fatalf("%v\n%+v\n%+v", err, removed, kept)
	}
	for _, s := range list {
		for i, sum := range sums {
			if s.has(sum) != (i > 0) {
				t.Errorf("%s: v%d there %v", s.name, i, s.has(sum))
			}
		}
		if want := []string{"worker/" + sums[0] + ".iso", "worker/" + sums[0] + ".manifest.json"}; !slices.Equal(s.removed, want) {
			t.Errorf("%s: removed %v", s.name, s.removed)
		}
		s.checkNames(t)
	}
	if list[0].files["worker/notes.txt"] == nil || list[0].files["worker/"+sums[0]+".iso.bak"] == nil {
		t.Error("somebody else's file is gone")
	}
	whys := map[string]string{}
	for _, f := range kept {
		whys[f.SHA256] = f.Why
	}
	for i, want := range []string{"", "VM web-1", "the spec names it", "was there before", "channel stable", "channel latest"} {
		if !strings.Contains(whys[sums[i]], want) {
			t.Errorf("v%d is kept because %q, want %q", i, whys[sums[i]], want)
		}
	}
}

// Whatever cannot be read, on whichever store: nothing is removed anywhere.
func TestCleanFailsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*center, *Cleaning)
		want  string
	}{
		"VMs unread":          {func(c *center, _ *Cleaning) { c.fail = failing("used") }, "find the VMs"},
		"VMs partly read":     {func(c *center, _ *Cleaning) { c.used, c.fail = map[string]string{"x": "y"}, failing("used") }, "find the VMs"},
		"folder unread":       {func(c *center, _ *Cleaning) { c.fail = failing("list") }, "list"},
		"channel unread":      {func(c *center, _ *Cleaning) { c.fail = failing("open") }, "read channel"},
		"channel broken":      {func(c *center, _ *Cleaning) { c.files[ChannelPath("worker", "x")] = []byte("{") }, "read channel"},
		"channel newer":       {func(c *center, _ *Cleaning) { c.files[ChannelPath("worker", "x")] = []byte(`{"format":2}`) }, "newer lkv"},
		"what is that":        {func(c *center, _ *Cleaning) { c.files["worker/channels/x.jsn"] = []byte(`{}`) }, "is no channel"},
		"second look fails":   {func(c *center, _ *Cleaning) { c.fail = failingFrom("used", 2) }, "find the VMs"},
		"second look differs": {func(c *center, _ *Cleaning) { c.fail = c.appears }, ""},
		"store cannot say":    {func(c *center, d *Cleaning) { d.Stores = append(d.Stores, c.memory) }, "cannot say which VMs"},
		"store cannot remove": {func(c *center, d *Cleaning) { d.Stores = append(d.Stores, onlyUsers{c.memory, c}) }, "cannot remove"},
		"bad image":           {func(_ *center, d *Cleaning) { d.Images = append(d.Images, "..") }, "image name"},
	} {
		t.Run(name, func(t *testing.T) {
			list := behind("a", "a1", "a2")
			sums := pushed(t, []string{"v0", "v1"}, list...)
			forget(t, list...)
			d := cleaning(list...)
			list[1].used = map[string]string{"later": sums[0]}
			c.spoil(list[1], &d)
			removed, _, err := Clean(t.Context(), d)
			if len(removed) > 0 || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, removed %+v", err, removed)
			}
			if !list[0].has(sums[0]) || !list[1].has(sums[0]) {
				t.Error("the ISO is gone")
			}
		})
	}
}

// appears makes a VM use the ISO between the first and the second look.
func (c *center) appears(op, _ string) error {
	if sum, ok := c.used["later"]; op == "used" && ok {
		c.used = map[string]string{"[a2] lkv/worker/" + sum + ".iso": "new"}
	}
	return nil
}

func failingFrom(op string, nth int) func(string, string) error {
	n := 0
	return func(o, _ string) error {
		if o == op {
			n++
		}
		if n >= nth {
			return errBroken
		}
		return nil
	}
}

// onlyUsers is a store that knows its VMs and cannot remove.
type onlyUsers struct {
	*memory
	Users
}

// ISOs that are not certainly lkv's, old and forgotten stay.
func TestCleanSpares(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(c *center, sum string)
		want  string
	}{
		"young":          {func(c *center, sum string) { c.times[ISOPath("worker", sum)] = now.Add(100*time.Hour - time.Minute) }, "too young"},
		"young manifest": {func(c *center, sum string) { c.times[ManifestPath("worker", sum)] = now.Add(100 * time.Hour) }, "too young"},
		"from tomorrow":  {func(c *center, sum string) { c.times[ISOPath("worker", sum)] = now.Add(200 * time.Hour) }, "too young"},
		"no age":         {func(c *center, sum string) { c.times[ISOPath("worker", sum)] = time.Time{} }, "age is not known"},
		"no manifest":    {func(c *center, sum string) { delete(c.files, ManifestPath("worker", sum)) }, "no manifest"},
		"bad manifest":   {func(c *center, sum string) { c.files[ManifestPath("worker", sum)] = []byte("{") }, "not understood"},
		"other manifest": {func(c *center, sum string) {
			c.files[ManifestPath("worker", sum)] = []byte(strings.ReplaceAll(string(c.files[ManifestPath("worker", sum)]), sum, strings.Repeat("0", 64)))
		}, "not understood"},
		"other image": {func(c *center, sum string) {
			c.files[ManifestPath("worker", sum)] = []byte(strings.ReplaceAll(string(c.files[ManifestPath("worker", sum)]), `"worker"`, `"other"`))
		}, "of image"},
		"other size": {func(c *center, sum string) { c.files[ISOPath("worker", sum)] = []byte("longer") }, "bytes and its manifest"},
		"under way":  {func(c *center, sum string) { c.files[pusher{"x", "y"}.temporary(c, ISOPath("worker", sum))] = nil }, "under way"},
		"no channel": {func(c *center, _ string) { delete(c.files, ChannelPath("worker", "latest")) }, "no channel"},
	} {
		s := behind("a", "a1")[0]
		sum := pushed(t, []string{"v0", "v1"}, s)[0]
		forget(t, s)
		c.spoil(s, sum)
		removed, kept, err := Clean(t.Context(), cleaning(s))
		i := slices.IndexFunc(kept, func(f Found) bool { return f.SHA256 == sum })
		if err != nil || len(removed)+len(s.removed) > 0 || i < 0 || !strings.Contains(kept[i].Why, c.want) {
			t.Errorf("%s: %v, removed %+v, kept %+v", name, err, removed, kept)
		}
	}
}

// A removal that breaks off leaves the manifest, and the next one takes it up.
func TestCleanGoesOn(t *testing.T) {
	s := behind("a", "a1")[0]
	sum := pushed(t, []string{"v0", "v1"}, s)[0]
	forget(t, s)
	s.fail = func(op, p string) error {
		if op == "remove" && strings.HasSuffix(p, ".manifest.json") {
			return errBroken
		}
		return nil
	}
	if removed, _, err := Clean(t.Context(), cleaning(s)); !errors.Is(err, errBroken) || len(removed) > 0 || s.has(sum) || s.files[ManifestPath("worker", sum)] == nil {
		t.Errorf("%v %+v", err, removed)
	}
	s.checkNames(t)
	s.fail = nil
	if removed, _, err := Clean(t.Context(), cleaning(s)); err != nil || len(removed) != 1 || s.files[ManifestPath("worker", sum)] != nil {
		t.Errorf("%v %+v", err, removed)
	}
}
