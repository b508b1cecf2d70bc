package boot

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"github.com/lkv-io/lkv/internal/report"
	"pgregory.net/rapid"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/full", "12\n", 0o644)
	write(t, dir+"/empty", "", 0o644)
	for name, want := range map[string]bool{"full": true, "empty": false, "missing": false, ".": false} {
		if got := Complete(filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestParseCmdline(t *testing.T) {
	got := ParseCmdline("console=tty0 console=ttyS0,115200 quiet lkv.debug root=\"/dev/a b\" \"dyndbg=file x\"\n")
	want := Cmdline{"console": "ttyS0,115200", "quiet": "", "lkv.debug": "", "root": "/dev/a b", "dyndbg": "file x"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !got.Has("lkv.debug") || got.Has("debug") {
		t.Error("Has must look for the whole key")
	}
}

func TestCmdlineRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Cmdline(rapid.MapOf(rapid.StringMatching(`[a-z._]{1,8}`), rapid.StringMatching(`[a-z0-9 =,/]{0,8}`)).Draw(t, "args"))
		var words []string
		for k, v := range want {
			words = append(words, k+"=\""+v+"\"")
		}
		if d := cmp.Diff(want, ParseCmdline(strings.Join(words, " "))); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzParseCmdline(f *testing.F) {
	f.Add(`a="b c" d "e`)
	f.Fuzz(func(t *testing.T, text string) {
		for k := range ParseCmdline(text) {
			if strings.Contains(k, "=") || strings.Contains(k, `"`) {
				t.Errorf("key %q of %q", k, text)
			}
		}
	})
}

func TestHostname(t *testing.T) {
	cards := []net.Interface{
		{Name: "lo", Flags: net.FlagLoopback, HardwareAddr: nil},
		{Name: "eth0", HardwareAddr: net.HardwareAddr{0x52, 0x54, 0, 0xaa, 0xbb, 0xcc}},
	}
	for _, c := range []struct {
		given, image string
		cards        []net.Interface
		want         string
	}{
		{"wrk-01", "img", cards, "wrk-01"}, {" wrk-01\n", "", cards, "wrk-01"}, {"", "img\n", cards, "img"},
		{"-bad", "", cards, "lkv-525400aabbcc"}, {"a b", "img", cards, "img"}, {strings.Repeat("x", 65), "", cards, "lkv-525400aabbcc"},
		{"", "", cards[:1], "lkv"},
	} {
		if got := hostname(c.given, c.image, c.cards); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.given, c.image, got, c.want)
		}
	}
}

func TestSysctls(t *testing.T) {
	conf, proc := t.TempDir(), t.TempDir()
	for _, f := range []string{"net/ipv4/ip_forward", "vm/max_map_count", "net/ipv4/conf/eth0.5/rp_filter"} {
		write(t, filepath.Join(proc, f), "0", 0o644)
	}
	write(t, conf+"/20-b.conf", "vm.max_map_count = 2\n", 0o644)
	write(t, conf+"/10-a.conf", "# c\n; c\nnet.ipv4.ip_forward=1\nvm.max_map_count=1\nnet/ipv4/conf/eth0.5/rp_filter = 2\n-no.such.key=1\nnonsense\n", 0o644)
	if err := sysctls(conf, proc); err != nil {
		t.Error(err)
	}
	for f, want := range map[string]string{"net/ipv4/ip_forward": "1", "vm/max_map_count": "2", "net/ipv4/conf/eth0.5/rp_filter": "2"} {
		if got, _ := os.ReadFile(filepath.Join(proc, f)); string(got) != want {
			t.Errorf("%s is %q, want %q", f, got, want)
		}
	}
	write(t, conf+"/30-c.conf", "no/such/dir=1\n", 0o644)
	if err := sysctls(conf, proc); err == nil || !strings.Contains(err.Error(), "30-c.conf") {
		t.Errorf("error %v does not name the file", err)
	}
}

// TestSysctlStaysBelow: no key leaves /proc/sys.
func TestSysctlStaysBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, s := range parseSysctl(rapid.StringMatching(`([a-z./-]{0,12}=[0-9]{0,3}\n){0,4}`).Draw(t, "text")) {
			if p := filepath.Join("/proc/sys", s.path); p != "/proc/sys" && !strings.HasPrefix(p, "/proc/sys/") {
				t.Fatalf("%q", p)
			}
		}
	})
}

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/020-b", "", 0o755)
	write(t, dir+"/010-a", "", 0o755)
	write(t, dir+"/030-not-executable", "", 0o644)
	write(t, dir+"/real/service", "", 0o755)
	for name, target := range map[string]string{"040-dangling": "/nonexistent", "005-onboot": "real/service", "050-link": "020-b"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{dir + "/010-a", dir + "/020-b", dir + "/050-link"}
	if d := cmp.Diff(want, scripts(dir)); d != "" {
		t.Error(d)
	}
	if got := scripts(dir + "/missing"); len(got) != 0 {
		t.Error(got)
	}
}

func TestBackoff(t *testing.T) {
	var got []time.Duration
	wait := time.Duration(0)
	for range 8 {
		wait = next(wait, time.Second)
		got = append(got, wait/time.Second)
	}
	if d := cmp.Diff([]time.Duration{1, 2, 4, 8, 16, 32, 60, 60}, got); d != "" {
		t.Error(d)
	}
	if got := next(wait, healthy); got != backoffFirst {
		t.Errorf("after a healthy run: %s", got)
	}
}

func TestStarved(t *testing.T) {
	const meminfo = "MemTotal:         473196 kB\nMemFree:          398444 kB\n"
	got := starved(meminfo, report.Image{Name: "worker"})
	for _, want := range []string{"too little memory", "image worker", "not unpacked completely", "usable memory 462 MiB", "left 389 MiB", "more RAM"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if got := starved("", report.Image{}); strings.Contains(got, "MiB") || !strings.Contains(got, "its image:") {
		t.Errorf("without numbers: %q", got)
	}
	if memory("MemTotal: x kB\n", "MemTotal") != 0 {
		t.Error("a broken number must be none")
	}
}

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/lib/a", "text", 0o750)
	write(t, from+"/set", "x", 0o755|os.ModeSetuid)
	if err := os.Symlink("/run", from+"/run"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(from+"/lib", 0o711); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from+"/.", to); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"lib", "lib/a", "set", "run"} {
		st, err := os.Lstat(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = st.Mode().String()
	}
	if d := cmp.Diff(map[string]string{"lib": "drwx--x--x", "lib/a": "-rwxr-x---", "set": "urwxr-xr-x", "run": "Lrwxrwxrwx"}, got); d != "" {
		t.Error(d)
	}
	if data, _ := os.ReadFile(to + "/lib/a"); string(data) != "text" {
		t.Errorf("%q", data)
	}
}

func TestControllers(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/cgroup.controllers", "cpu memory\n", 0o644)
	write(t, dir+"/cgroup.subtree_control", "", 0o644)
	if err := controllers(dir); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(dir + "/cgroup.subtree_control"); string(got) != "+memory" { // a real one keeps both
		t.Errorf("%q", got)
	}
	if err := controllers(dir + "/missing"); err == nil {
		t.Error("no cgroups at all must be said")
	}
}

// TestLeaving: children go before parents, and what shutdown needs stays.
func TestLeaving(t *testing.T) {
	list, err := mountinfo.Parse(`1 0 0:1 / / rw - tmpfs none rw
2 1 0:2 / /proc rw - proc proc rw
3 1 0:3 / /dev rw - devtmpfs d rw
4 3 0:4 / /dev/pts rw - devpts d rw
5 1 0:5 / /run rw - tmpfs d rw
6 1 0:6 / /var rw - tmpfs d rw
7 6 8:0 / /var/lib/docker rw - ext4 /dev/sda rw
8 7 0:8 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
9 5 0:9 / /run/netns/x rw - nsfs nsfs rw
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range leaving(list) {
		got = append(got, m.Point)
	}
	want := []string{"/run/netns/x", "/var/lib/docker/overlay2/x/merged", "/var/lib/docker", "/var"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1", "2", "self"} {
		write(t, filepath.Join(dir, name, "status"), "", 0o644)
	}
	if err := os.Symlink("/init", dir+"/1/exe"); err != nil {
		t.Fatal(err)
	}
	if others(dir) {
		t.Error("PID 1 and a kernel thread were taken for somebody else")
	}
	if err := os.MkdirAll(dir+"/77", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/sh", dir+"/77/exe"); err != nil {
		t.Fatal(err)
	}
	if !others(dir) {
		t.Error("a process was overlooked")
	}
}

// TestState: the file always holds the whole report, disks come from persist's files, and every change of state is
// published.
func TestState(t *testing.T) {
	dir := t.TempDir()
	var published []string
	s := newState(dir+"/report.json", dir+"/disks", func(key, value string) error {
		var r report.Report
		if err := json.Unmarshal([]byte(value), &r); err != nil || key != report.Key {
			t.Error(key, err)
		}
		published = append(published, r.State)
		return nil
	})
	disk := report.Disk{Mount: "/var/lib/docker", Device: "/dev/sda", Mounted: true}
	data, err := json.Marshal(disk)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/disks/var-lib-docker.json", string(data), 0o644)
	for i, want := range [][]report.Disk{{disk}, nil} {
		fresh, err := s.mergeDisks()
		if d := cmp.Diff(want, fresh); err != nil || d != "" {
			t.Errorf("look %d: %v %s", i+1, err, d)
		}
	}
	for _, err := range []error{
		s.change(func(r *report.Report) { r.State = report.Running }),
		s.service("a", "running", 0), s.service("b", "running", 0), s.service("a", "backoff", 1),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	var got report.Report
	if err := readJSON(dir+"/report.json", &got); err != nil {
		t.Fatal(err)
	}
	want := report.Report{Format: 1, State: report.Running, Disks: []report.Disk{disk},
		Services: []report.Service{{Name: "a", State: "backoff", Restarts: 1}, {Name: "b", State: "running"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{report.Booting, report.Booting, report.Running}, published); d != "" {
		t.Error(d)
	}
}

func TestStateSaysWhatFails(t *testing.T) {
	s := newState(t.TempDir()+"/missing/report.json", "", func(string, string) error { return errors.New("x") })
	if err := s.change(func(*report.Report) {}); err == nil {
		t.Error("a report that cannot be written went unnoticed")
	}
	dir := t.TempDir()
	write(t, dir+"/disks/a.json", "{", 0o644)
	s = newState(dir+"/report.json", dir+"/disks", func(string, string) error { return nil })
	if _, err := s.mergeDisks(); err == nil {
		t.Error("half a disk report was taken")
	}
}
