package prove

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
)

// proof is a proof of an image with these mounts in a world with that fault.
func proof(t *testing.T, fault string, boot []string, mounts ...string) (Proof, *world) {
	t.Helper()
	iso := filepath.Join(t.TempDir(), "test-1.iso")
	if err := os.WriteFile(iso, []byte("iso"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("iso"))
	m := manifest.Manifest{Image: "test", ID: "sha256:abc", Boot: boot, Cmdline: "quiet console=tty0 console=ttyS0,115200"}
	m.ISO.SHA256 = hex.EncodeToString(sum[:])
	m.Components = []manifest.Component{{Section: "init", Ref: "lkv/init:1"}, {Section: "service", Ref: "registry:5000/lkv/tools:1@sha256:00"}}
	for i, path := range mounts {
		m.Persist = append(m.Persist, manifest.Persist{Mount: path, Label: fmt.Sprint("l", i), Filesystem: "ext4", Via: "lkv", Gated: true})
	}
	if len(mounts) != 1 { // the guest's report speaks of one
		m.Components = m.Components[:1]
	}
	w := &world{t: t, m: m, fault: fault}
	return Proof{
		ISO: iso, Manifest: m, Nonces: [2]string{"aaaa", "bbbb"}, MemoryMiB: 700, CPUs: 1, DiskSize: 4 << 20,
		Boot: 40 * time.Millisecond, Grace: 40 * time.Millisecond, Work: t.TempDir(), Logs: t.TempDir(),
		Start: w.start, Now: w.now, Watch: func(string) func(Step) { return func(Step) {} },
	}, w
}

var both = []string{"bios", "uefi"}

func TestProven(t *testing.T) {
	for name, c := range map[string]struct {
		boot    []string
		mounts  []string
		steps   string // name/firmware/disks of each
		verdict string
	}{
		"one disk": {both, []string{"/var/lib/docker"}, "1-first/bios/1 2-again/efi/1 3-no-disk/bios/0 4-foreign/bios/2",
			"proven: test-1.iso: it boots with BIOS and UEFI; /var/lib/docker kept its data over a power cut; without the disk no service starts; foreign disks stay as they are"},
		"three disks": {both, []string{"/a", "/b", "/c"}, "1-disk-1/bios/1 1-disk-2/bios/2 1-first/bios/3 2-again/efi/3 3-no-disk/bios/0 4-foreign/bios/4",
			"proven: test-1.iso: it boots with BIOS and UEFI; /a and /b and /c kept its data"},
		"no disk": {both, nil, "1-first/bios/0 2-again/efi/0",
			"proven: test-1.iso: it boots with BIOS and UEFI and powers off; it has no data disk, so nothing is said about data"},
		"BIOS only": {[]string{"bios"}, []string{"/var/lib/docker"}, "1-first/bios/1 2-again/bios/1 3-no-disk/bios/0 4-foreign/bios/2", "proven: test-1.iso: it boots with BIOS; "},
		"UEFI only": {[]string{"uefi"}, []string{"/var/lib/docker"}, "1-first/efi/1 2-again/efi/1 3-no-disk/efi/0 4-foreign/efi/2", "proven: test-1.iso: it boots with UEFI; "},
	} {
		t.Run(name, func(t *testing.T) {
			p, w := proof(t, "", c.boot, c.mounts...)
			var watched []string
			p.Watch = func(title string) func(Step) {
				return func(s Step) { watched = append(watched, title+": "+s.Detail) }
			}
			r, err := p.Run(t.Context())
			if err != nil || !r.Proven || !strings.HasPrefix(r.Verdict, c.verdict) {
				t.Fatalf("%v, %q\n%s", err, r.Verdict, strings.Join(watched, "\n"))
			}
			var steps, shown []string
			for i, s := range r.Steps {
				b := w.boots[i]
				steps = append(steps, fmt.Sprintf("%s/%s/%d", s.Name, b.Firmware, len(b.Disks)))
				shown = append(shown, s.Title+": "+s.Detail)
				if !s.Proven || s.Seconds <= 0 || b.MemoryMiB != 700 || b.ISO != p.ISO {
					t.Errorf("%+v of %+v", s, b)
				}
				if log, err := os.ReadFile(filepath.Join(p.Logs, s.Name+".log")); err != nil || !strings.Contains(string(log), "SeaBIOS") {
					t.Errorf("log of %s: %v", s.Name, err)
				}
			}
			if d := cmp.Diff(c.steps, strings.Join(steps, " ")); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(shown, watched); d != "" {
				t.Error(d)
			}
			if w.running != 0 {
				t.Errorf("%d machines are left on", w.running)
			}
		})
	}
}

// TestNotProven has one image per way to fail; the verdict names the step and says what was seen.
func TestNotProven(t *testing.T) {
	for fault, c := range map[string]struct{ step, says string }{
		"1 is silent":             {"1-first", "cannot see: after 40ms the console shows no line of lkv's init"},
		"1 breaks down":           {"1-first", `the VM ended before its boot did (abort); the console's last line: "SeaBIOS"`},
		"1 is another image":      {"1-first", "image sha256:other booted"},
		"1 hangs":                 {"1-first", `last line: "dhcp: waiting for ever"`},
		"1 panics":                {"1-first", "no services: Kernel panic - not syncing"},
		"1 starves":               {"1-first", "too little memory"},
		"1 says nothing":          {"1-first", "cannot see: nothing was written through /var/lib/docker"},
		"1 cannot write":          {"1-first", "/var/lib/docker cannot be written: write nonce: read-only file system"},
		"1 writes something else": {"1-first", "wrote bad, not aaaa"},
		"1 mounts for itself":     {"1-first", "init did not see /var/lib/docker mounted"},
		"1 does not format":       {"1-first", "another step of the image writes to disks"},
		"1 loses the write":       {"2-again", "has lost its data: what the boot before wrote is gone (formatted=false)"},
		"1 keeps something else":  {"2-again", "holds 01d, not aaaa"},
		"2 formats again":         {"2-again", "has lost its data: what the boot before wrote is gone (formatted=true)"},
		"2 hangs":                 {"2-again", "neither services nor a stopped boot after 40ms"},
		"2 reports nothing":       {"2-again", "the guest's report: no agent"},
		"2 reports a failure":     {"2-again", `state "failed"`},
		"2 reports no mount":      {"2-again", "/var/lib/docker is not mounted"},
		"2 stays on":              {"2-again", "still on 40ms after the power button"},
		"2 has no button":         {"2-again", "the power button cannot be pressed: no answer"},
		"2 crashes at the end":    {"2-again", "did not power off but ended: abort"},
		"3 goes on":               {"3-no-disk", "services were started without the data disk"},
		"3 starts late":           {"3-no-disk", "services were started after the boot had stopped"},
		"3 stays on":              {"3-no-disk", "still on"},
		"3 panics":                {"3-no-disk", "did not stop for the missing disk: Kernel panic"},
		"3 hangs":                 {"3-no-disk", "neither services"},
		"4 goes on":               {"4-foreign", "services were started without the data disk"},
		"4 takes any disk":        {"4-foreign", "a foreign disk was changed"},
		"4 is silent":             {"4-foreign", "cannot see"},
	} {
		t.Run(fault, func(t *testing.T) {
			p, w := proof(t, fault, both, "/var/lib/docker")
			r, err := p.Run(t.Context())
			if err != nil || r.Proven || len(r.Steps) == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			last := r.Steps[len(r.Steps)-1]
			if last.Name != c.step || last.Proven || !strings.Contains(last.Detail, c.says) {
				t.Errorf("%s: %q, want %s: %q", last.Name, last.Detail, c.step, c.says)
			}
			if want := "NOT proven: test-1.iso: " + last.Title + ": " + last.Detail; r.Verdict != want || strings.Contains(want, "\n") {
				t.Errorf("verdict %q, want %q", r.Verdict, want)
			}
			if _, err := os.Stat(filepath.Join(p.Logs, last.Name+".log")); err != nil {
				t.Error(err)
			}
			_, err = os.Stat(filepath.Join(p.Logs, last.Name+".png"))
			if alive := !strings.Contains(fault, "breaks") && !strings.Contains(fault, "crashes") && fault != "3 starts late" && fault != "4 takes any disk"; alive != (err == nil) {
				t.Errorf("screen: %v", err)
			}
			if w.running != 0 {
				t.Errorf("%d machines are left on", w.running)
			}
		})
	}
}

// TestDiskUUID: a disk that the image finds by its UUID gets it.
func TestDiskUUID(t *testing.T) {
	p, w := proof(t, "", both, "/var/lib/docker")
	p.Manifest.Persist[0].UUID = "6000C29b-BBBB-bbbb-bbbb-bbbbbbbbbbbb"
	if r, err := p.Run(t.Context()); err != nil || !r.Proven {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, i := range []int{0, 1, 3} { // the foreign disk takes its place
		if got := w.boots[i].Disks[0].Serial; got != "6000c29bbbbbbbbbbbbbbbbbbbbbbbbb" {
			t.Errorf("boot %d: serial %s", i, got)
		}
	}
}

// TestFormattedByOthers: LinuxKit's own format is not seen by lkv's gate; what was found on the disk counts.
func TestFormattedByOthers(t *testing.T) {
	p, w := proof(t, "1 does not format", both, "/var/lib/docker")
	p.Manifest.Persist[0].Via, w.m.Persist[0].Via = "linuxkit", "linuxkit"
	if r, err := p.Run(t.Context()); err != nil || !r.Proven {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestCannotSee(t *testing.T) {
	for says, change := range map[string]func(*manifest.Manifest){
		"its init is linuxkit/init:abc":       func(m *manifest.Manifest) { m.Components[0].Ref = "linuxkit/init:abc" },
		"its init is ghcr.io/linuxkit/init@x": func(m *manifest.Manifest) { m.Components[0].Ref = "ghcr.io/linuxkit/init@x" },
		"no console=ttyS0: add that":          func(m *manifest.Manifest) { m.Cmdline = "console=tty0 console=ttyS1 xconsole=ttyS0" },
	} {
		p, w := proof(t, "", both, "/var/lib/docker")
		change(&p.Manifest)
		r, err := p.Run(t.Context())
		if err != nil || r.Proven || len(w.boots) != 0 || !strings.HasPrefix(r.Verdict, "NOT proven: test-1.iso: cannot see: ") || !strings.Contains(r.Verdict, says) {
			t.Errorf("%+v, %v, %d boots; want %q", r, err, len(w.boots), says)
		}
	}
}

// TestTrouble: what is wrong with this machine is an error, not a verdict about the image.
func TestTrouble(t *testing.T) {
	for says, change := range map[string]func(*Proof, *world){
		"no QEMU":                  func(_ *Proof, w *world) { w.fault = "2 no QEMU" },
		"its manifest says 00":     func(p *Proof, _ *world) { p.Manifest.ISO.SHA256 = "00" },
		"open ISO":                 func(p *Proof, _ *world) { p.ISO += ".gone" },
		"make disk":                func(p *Proof, _ *world) { p.Work = filepath.Join(p.Work, "gone") },
		"keep log":                 func(p *Proof, _ *world) { p.Logs = filepath.Join(p.Logs, "gone") },
		"BIOS, blank disk, then p": func(p *Proof, _ *world) { _ = os.Mkdir(filepath.Join(p.Work, "1-first"), 0o700) },
	} {
		p, w := proof(t, "", both, "/var/lib/docker")
		change(&p, w)
		if r, err := p.Run(t.Context()); err == nil || r.Proven || !strings.Contains(err.Error(), says) || w.running != 0 {
			t.Errorf("%+v, %v, %d on; want %q", r, err, w.running, says)
		}
	}
}

// TestInterrupted: whoever cancels gets no verdict, wherever the proof stands, and no machine is left.
func TestInterrupted(t *testing.T) {
	stop := errors.New("stop")
	for _, fault := range []string{"1 is silent", "2 stays on", "2 reports nothing", "3 hangs", "4 stays on"} {
		t.Run(fault, func(t *testing.T) {
			p, w := proof(t, fault, both, "/var/lib/docker")
			p.Boot, p.Grace = time.Hour, time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			n := 0
			p.Start = func(c context.Context, q qemu.Config) (Machine, error) {
				m, err := w.start(c, q)
				if n++; q.Name[:1] == fault[:1] {
					time.AfterFunc(10*time.Millisecond, func() { cancel(stop) })
				}
				return m, err
			}
			r, err := p.Run(ctx)
			if !errors.Is(err, stop) || r.Proven || r.Verdict != "" || w.running != 0 || n != int(fault[0]-'0') {
				t.Errorf("%+v, %v, %d on, %d boots", r, err, w.running, n)
			}
		})
	}
}
