package prove

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
)

// world starts guests that behave as lkv's do, but for one fault. What a guest keeps on a disk is the word "ours", the
// mount path and the nonce, so that power cuts and firmware make no difference and lost data is lost.
type world struct {
	t       *testing.T
	m       manifest.Manifest
	fault   string
	boots   []qemu.Config
	running int // machines that are on
	seconds int
}

func (w *world) now() time.Time {
	w.seconds++
	return time.Unix(int64(w.seconds), 0)
}

// does tells whether the fault is to show in a boot, by the number of its step.
func (w *world) does(c qemu.Config, fault string) bool {
	return w.fault == c.Name[:1]+" "+fault
}

func (w *world) start(_ context.Context, c qemu.Config) (Machine, error) {
	w.boots = append(w.boots, c)
	if w.does(c, "no QEMU") {
		return nil, errors.New("no QEMU")
	}
	w.running++
	vm := &vm{w: w, c: c, done: make(chan struct{})}
	vm.boot()
	return vm, nil
}

// vm is one power-on.
type vm struct {
	w     *world
	c     qemu.Config
	done  chan struct{}
	ended bool
	err   error
}

func (v *vm) print(format string, args ...any) {
	f, err := os.OpenFile(v.Serial(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	_, _ = fmt.Fprintf(f, format+"\r\n", args...)
}

func (v *vm) end(err error) {
	if !v.ended {
		v.ended, v.err = true, err
		v.w.running--
		close(v.done)
	}
}

// boot is the guest's life up to its services.
func (v *vm) boot() {
	w := v.w
	switch {
	case w.does(v.c, "is silent"):
		return
	case w.does(v.c, "breaks down"):
		v.print("SeaBIOS")
		v.end(errors.New("abort"))
		return
	}
	v.print("SeaBIOS\r\nlkv: booting the kernel")
	id := w.m.ID
	if w.does(v.c, "is another image") {
		id = "sha256:other"
	}
	v.print("lkv: image test %s", id)
	switch {
	case w.does(v.c, "hangs"):
		v.print("dhcp: waiting for ever")
		return
	case w.does(v.c, "panics"):
		v.print("[    2.1] Kernel panic - not syncing: Attempted to kill init!")
		return
	case w.does(v.c, "starves"):
		v.print("lkv: this VM has too little memory for its image: give it more")
		return
	}
	if why := v.onboot(); why != "" && !w.does(v.c, "goes on") {
		v.print("lkv: boot stopped: %s", why)
		return
	}
	v.print("lkv: services started")
}

// onboot is what the persist steps do; it returns why the boot stops.
func (v *vm) onboot() string {
	blank := slices.Clone(v.c.Disks)
	blank = slices.DeleteFunc(blank, func(d qemu.Disk) bool { return v.read(d) != "" })
	for _, p := range v.w.m.Persist {
		at := slices.IndexFunc(v.c.Disks, func(d qemu.Disk) bool { return strings.HasPrefix(v.read(d), "ours "+p.Mount+" ") })
		formatted := at < 0 || v.w.does(v.c, "formats again")
		if at < 0 {
			if v.w.does(v.c, "takes any disk") {
				v.write(v.c.Disks[0], "ours "+p.Mount+" -")
			}
			if len(blank) != 1 {
				return fmt.Sprintf("persist: %d blank disks", len(blank))
			}
			at = slices.Index(v.c.Disks, blank[0])
			blank = nil
		}
		v.prove(v.c.Disks[at], p.Mount, formatted)
	}
	return ""
}

// prove mounts a disk, writes the nonce, and says so.
func (v *vm) prove(d qemu.Disk, mount string, formatted bool) {
	found, wrote := "-", v.c.Guestinfo[report.ProveKey]
	if fields := strings.Fields(v.read(d)); len(fields) == 3 && !formatted {
		found = fields[2]
	}
	keep := wrote
	switch {
	case v.w.does(v.c, "writes something else"):
		wrote = "bad"
	case v.w.does(v.c, "loses the write"):
		keep = "-"
	case v.w.does(v.c, "keeps something else"):
		keep = "0ld"
	}
	v.write(d, "ours "+mount+" "+keep)
	switch {
	case v.w.does(v.c, "cannot write"):
		v.print("persist-0: lkv: prove %s error: write nonce: read-only file system", mount)
	case !v.w.does(v.c, "says nothing"):
		v.print("persist-0: lkv: prove %s found=%s wrote=%s", mount, strings.Replace(found, "0ld", "01d", 1), wrote)
	}
	if !v.w.does(v.c, "mounts for itself") {
		v.print("lkv: mounted %s /dev/sda serial=%s formatted=%t", mount, d.Serial, formatted && !v.w.does(v.c, "does not format"))
	}
}

func (v *vm) read(d qemu.Disk) string {
	v.w.t.Helper()
	f, err := os.Open(d.Path)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, 8192)
	if _, err := f.Read(b); err != nil {
		v.w.t.Fatal(err)
	}
	return strings.Trim(string(b), "\x00")
}

func (v *vm) write(d qemu.Disk, s string) {
	f, err := os.OpenFile(d.Path, os.O_WRONLY, 0)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, 8192)
	copy(b, s)
	if _, err := f.Write(b); err != nil {
		v.w.t.Fatal(err)
	}
}

func (v *vm) WaitSerial(ctx context.Context, re *regexp.Regexp, from int) (string, int, error) {
	log, _ := os.ReadFile(v.Serial())
	if m := re.FindIndex(log[from:]); m != nil {
		return string(log[from+m[0] : from+m[1]]), from + m[1], nil
	}
	select {
	case <-ctx.Done():
		return "", 0, ctx.Err()
	case <-v.done:
		return "", 0, errors.New("machine ended")
	}
}

func (v *vm) Serial() string { return filepath.Join(v.c.Dir, "serial.log") }

func (v *vm) Powerdown(context.Context) error {
	switch {
	case v.w.does(v.c, "has no button"):
		return errors.New("no answer")
	case v.w.does(v.c, "stays on"):
		return nil
	case v.w.does(v.c, "starts late"):
		v.print("lkv: services started")
	case v.w.does(v.c, "crashes at the end"):
		v.end(errors.New("abort"))
	}
	v.end(nil)
	return nil
}

func (v *vm) Screenshot(_ context.Context, path string) error {
	if v.ended {
		return errors.New("no screen")
	}
	return os.WriteFile(path, []byte("png"), 0o600)
}

func (v *vm) ReadFile(_ context.Context, path string) ([]byte, error) {
	if path != report.Path || v.w.does(v.c, "reports nothing") {
		return nil, errors.New("no agent")
	}
	state, mounted := report.Running, true
	if v.w.does(v.c, "reports a failure") {
		state = report.Failed
	}
	if v.w.does(v.c, "reports no mount") {
		mounted = false
	}
	return fmt.Appendf(nil, `{"state":%q,"image":{"id":%q},"disks":[{"mount":"/var/lib/docker","mounted":%t}]}`, state, v.w.m.ID, mounted), nil
}

func (v *vm) Done() <-chan struct{} { return v.done }
func (v *vm) Err() error            { return v.err }
func (v *vm) Kill()                 { v.end(errors.New("killed")) }
