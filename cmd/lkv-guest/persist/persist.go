package persist

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// Persist is one data disk to mount. Every field is needed.
type Persist struct {
	Want
	Mount   string        // absolute, clean
	Options []string      // mount options
	Timeout time.Duration // how long to wait for the disk
	Settle  time.Duration // how long the list of disks must stay the same before a blank one is formatted
	Sys     string        // "/sys"
	Dev     string        // "/dev"
	Reports string        // report.DisksDir
	Log     io.Writer     // one line per step

	// Run runs a program found in PATH and returns its output and exit status; err is for what could not be started.
	Run func(ctx context.Context, name string, args ...string) (out string, code int, err error)
}

// Validate refuses what cannot be right.
func (p Persist) Validate() error {
	longest := map[string]int{"ext4": 16, "xfs": 12}
	switch most, known := longest[p.Filesystem]; {
	case !filepath.IsAbs(p.Mount) || filepath.Clean(p.Mount) != p.Mount || p.Mount == "/":
		return fmt.Errorf("--mount %q: give an absolute path below /", p.Mount)
	case !known:
		return fmt.Errorf("--filesystem %q: use ext4 or xfs", p.Filesystem)
	case p.Label == "" && p.DiskUUID == "":
		return errors.New("give --label or --disk-uuid: a disk is never chosen by its place")
	case len(p.Label) > most:
		return fmt.Errorf("--label %q: %s takes at most %d bytes", p.Label, p.Filesystem, most)
	}
	return nil
}

// Ensure finds the disk and mounts it. The returned Disk is filled as far as things went, with Error set when err is.
func (p Persist) Ensure(ctx context.Context) (report.Disk, error) {
	d := report.Disk{Mount: p.Mount, Label: p.Label, Filesystem: p.Filesystem}
	err := p.ensure(ctx, &d)
	if err != nil {
		d.Error = err.Error()
	}
	if werr := writeReport(p.Reports, d); werr != nil {
		err = errors.Join(err, werr)
	}
	return d, err
}

func (p Persist) ensure(ctx context.Context, d *report.Disk) error {
	if err := p.Validate(); err != nil {
		return err
	}
	m, ok, err := p.mounted()
	if err != nil {
		return err
	}
	if ok && m.Major != 0 {
		return fmt.Errorf("%s is already mounted from %s", p.Mount, m.Source)
	}
	choice, err := p.find(ctx)
	if err != nil {
		return err
	}
	d.Device, d.Serial = choice.Disk.Node, choice.Disk.Serial()
	f, formatted, err := p.make(ctx, choice)
	d.Formatted = formatted
	if err != nil {
		return err
	}
	d.UUID, d.Label = f.Super.UUID, f.Super.Label
	if err := p.fsck(ctx, p.Filesystem, f.Node); err != nil {
		return err
	}
	if err := p.mount(f, p.Filesystem); err != nil {
		return err
	}
	d.Mounted = true
	size, err := p.grow(ctx, f)
	if err != nil {
		p.say("%v; going on with the old size", err) // all data is there
	}
	d.Size = size
	return nil
}

// make brings the chosen disk to a sound file system and looks at it again.
func (p Persist) make(ctx context.Context, c Decision) (f Found, formatted bool, err error) {
	switch {
	case c.Verb == Format:
		p.say("%s: formatting it as %s labelled %q", c.Disk, p.Filesystem, p.Label)
		id, err := newUUID()
		if err != nil {
			return f, false, err
		}
		if c.Disk.Note != nil {
			id = c.Disk.Note.UUID
		}
		if err := p.Format(ctx, p.Want, c.Disk, id); err != nil {
			return f, true, err
		}
		formatted = true
	case c.Disk.Note != nil:
		p.say("%s: a power cut ended its formatting; checking", c.Disk)
		if formatted, err = p.finish(ctx, p.Want, c.Disk); err != nil {
			return f, formatted, err
		}
	default:
		return c.Disk, false, nil
	}
	f = p.Look(ctx, c.Disk.Disk)
	again := Decide(p.Want, []Found{f})
	if again.Verb != Use {
		return f, formatted, fmt.Errorf("after formatting: %s", again.Reason)
	}
	return again.Disk, formatted, nil
}

// poll is how often the list of disks is read.
const poll = 250 * time.Millisecond

// restless is how many times Settle a list of disks that keeps changing is waited for beyond Timeout.
const restless = 6

// find waits until the disk is there. A labelled disk is taken at once; a blank one only when no other disk has come
// for a while, since the labelled one may be slower. That holds at the end of the timeout too.
func (p Persist) find(ctx context.Context) (Decision, error) {
	began := time.Now()
	var before []Disk
	var all []Found
	var since time.Time
	var c Decision
	for {
		now := Disks(p.Sys, p.Dev, inUse())
		changed := since.IsZero() || !reflect.DeepEqual(now, before)
		if changed {
			before, since = now, time.Now()
		}
		// A disk that could not be read is read again: it may be listed before its node exists.
		if changed || slices.ContainsFunc(all, func(f Found) bool { return f.Err != nil }) {
			all = nil
			for _, d := range now {
				all = append(all, p.Look(ctx, d))
			}
			c = Decide(p.Want, all)
		}
		late := time.Since(began) - p.Timeout
		switch quiet := time.Since(since) >= p.Settle; {
		case c.Verb == Use, c.Verb == Format && quiet:
			return c, nil
		case c.Verb == Refuse, c.Verb == Wait && late >= 0:
			return c, errors.New(c.Reason)
		case c.Verb == Format && late >= restless*p.Settle:
			return c, fmt.Errorf("disks keep coming and going: %s; nothing was changed", names(all))
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(poll):
		}
	}
}

func (p Persist) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Log, format+"\n", args...)
}

// newUUID makes a random (version 4) UUID.
func newUUID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make UUID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return uuid(b), nil
}

func reportFile(dir, mount string) string {
	return filepath.Join(dir, strings.ReplaceAll(strings.Trim(mount, "/"), "/", "-")+".json")
}

func readReport(dir, mount string, d *report.Disk) error {
	data, err := os.ReadFile(reportFile(dir, mount))
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	return json.Unmarshal(data, d)
}

// writeReport leaves the disk for init, named after its mount path.
func writeReport(dir string, d report.Disk) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("report disk: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report disk: %w", err)
	}
	file := reportFile(dir, d.Mount)
	if err := os.WriteFile(file+".next", data, 0o644); err != nil {
		return fmt.Errorf("report disk: %w", err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		return fmt.Errorf("report disk: %w", err)
	}
	return nil
}

// programs are where tools are looked for first: an image's PATH may leave out the directories for administrators.
var programs = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}

func program(name string) string {
	for _, dir := range programs {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return filepath.Join(dir, name)
		}
	}
	return name
}

// Exec is Run for real programs. Their output is in English whatever the environment says.
func Exec(ctx context.Context, name string, args ...string) (out string, code int, err error) {
	cmd := exec.CommandContext(ctx, program(name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// A check or a mkfs that is told to end does so at a safe point; it is not killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	data, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return string(data), exit.ExitCode(), nil
	}
	if err != nil {
		return string(data), 0, fmt.Errorf("run %s: %w", name, err)
	}
	return string(data), 0, nil
}
