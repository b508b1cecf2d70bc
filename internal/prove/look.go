package prove

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/report"
)

// decided waits for the line that decides the boot and returns it with the whole console up to then.
func (p Proof) decided(ctx context.Context, m Machine) (line string, c console, err error) {
	within, cancel := context.WithTimeout(ctx, p.Boot)
	defer cancel()
	line, _, err = m.WaitSerial(within, ending, 0)
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	data, rerr := os.ReadFile(m.Serial())
	c = console(data)
	if err == nil {
		if rerr != nil {
			return "", "", fmt.Errorf("read console: %w", rerr)
		}
		return strings.TrimSpace(line), c, p.booted(c)
	}
	select {
	case <-m.Done():
		return "", c, failed("the VM ended before its boot did (%v); the console's last line: %q", m.Err(), c.last())
	default:
	}
	if c.image() == "" {
		return "", c, failed("cannot see: after %s the console shows no line of lkv's init; its last line: %q", p.Boot, c.last())
	}
	return "", c, failed("neither services nor a stopped boot after %s; the console's last line: %q", p.Boot, c.last())
}

// booted tells whether the image that runs is the one that is to be proven.
func (p Proof) booted(c console) error {
	if id := c.image(); id != "" && id != p.Manifest.ID {
		return failed("the console says that image %s booted, the manifest that it is %s", id, p.Manifest.ID)
	}
	return nil
}

// running waits until services were started.
func (p Proof) running(ctx context.Context, m Machine) (console, error) {
	line, c, err := p.decided(ctx, m)
	if err == nil && line != started {
		err = failed("no services: %s", line)
	}
	return c, err
}

// wrote checks that a boot wrote through the mount of data disk n, and what it found there: want is a nonce, or "-"
// for a disk that was blank and had to be formatted.
func (p Proof) wrote(c console, n int, want, nonce string) error {
	d := p.Manifest.Persist[n]
	m, ok := c.mark(d.Mount)
	formatted := c.formatted(d.Mount)
	switch {
	case !ok:
		return failed("cannot see: nothing was written through %s: no step of lkv/persist serves it, or one from before lkv prove; give the image a persist block for it", d.Mount)
	case m.trouble != "":
		return failed("%s cannot be written: %s", d.Mount, m.trouble)
	case m.wrote != nonce:
		return failed("%s: the guest wrote %s, not %s", d.Mount, m.wrote, nonce)
	case want != "-" && m.found == "-":
		return failed("%s has lost its data: what the boot before wrote is gone (formatted=%s)", d.Mount, formatted)
	case m.found != want:
		return failed("%s holds %s, not %s as the boot before left it", d.Mount, m.found, want)
	case formatted == "":
		return failed("init did not see %s mounted", d.Mount)
	case d.Via == "lkv" && want == "-" && formatted != "true":
		return failed("%s: its disk was blank, and lkv's persist step did not format it: another step of the image writes to disks", d.Mount)
	}
	return nil
}

// prepares is the look at a boot with the data disks up to n, of which the last is blank. The image has more of them,
// so that it may stop there.
func (p Proof) prepares(n int) func(context.Context, Machine) (string, error) {
	return func(ctx context.Context, m Machine) (string, error) {
		_, c, err := p.decided(ctx, m)
		if err != nil {
			return "", err
		}
		return p.Manifest.Persist[n].Mount + " formatted and written; power cut", p.wrote(c, n, "-", p.Nonces[0])
	}
}

// first is the look at the boot on the last blank disk. The power is cut as soon as services were started.
func (p Proof) first(ctx context.Context, m Machine) (string, error) {
	c, err := p.running(ctx, m)
	if err != nil {
		return "", err
	}
	for n := range p.Manifest.Persist {
		want := p.Nonces[0]
		if n == len(p.Manifest.Persist)-1 {
			want = "-"
		}
		if err := p.wrote(c, n, want, p.Nonces[0]); err != nil {
			return "", err
		}
	}
	if len(p.Manifest.Persist) == 0 {
		return "services started; power cut", nil
	}
	return "formatted and written, services started; power cut", nil
}

// again is the look at the boot after the power cut: the data is there, and the guest powers off when asked to.
func (p Proof) again(ctx context.Context, m Machine) (string, error) {
	c, err := p.running(ctx, m)
	if err != nil {
		return "", err
	}
	note := "services started"
	for n := range p.Manifest.Persist {
		if err := p.wrote(c, n, p.Nonces[0], p.Nonces[1]); err != nil {
			return "", err
		}
		note = "data is there, services started"
	}
	if served(p.Manifest) {
		if err := p.reported(ctx, m); err != nil {
			return "", err
		}
		note += ", report says running"
	}
	took, err := p.off(ctx, m)
	return fmt.Sprintf("%s; powered off in %.1fs", note, took.Seconds()), err
}

// refuses is the look at a boot without the image's own data disks: no service, and the power button works.
func (p Proof) refuses(ctx context.Context, m Machine) (string, error) {
	line, _, err := p.decided(ctx, m)
	if err != nil {
		return "", err
	}
	if line == started {
		return "", failed("services were started without the data disk")
	}
	reason, ok := strings.CutPrefix(line, stopped)
	if !ok {
		return "", failed("the boot did not stop for the missing disk: %s", line)
	}
	took, err := p.off(ctx, m)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(m.Serial())
	if err != nil {
		return "", fmt.Errorf("read console: %w", err)
	}
	if console(data).started() {
		return "", failed("services were started after the boot had stopped")
	}
	return fmt.Sprintf("no service (%s); powered off in %.1fs", reason, took.Seconds()), nil
}

// off presses the power button and waits until the guest has powered off.
func (p Proof) off(ctx context.Context, m Machine) (time.Duration, error) {
	began := p.Now()
	within, cancel := context.WithTimeout(ctx, p.Grace)
	defer cancel()
	if err := m.Powerdown(within); err != nil && ctx.Err() == nil {
		return 0, failed("the power button cannot be pressed: %v", err)
	}
	select {
	case <-m.Done():
	case <-within.Done():
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, failed("still on %s after the power button was pressed", p.Grace)
	}
	if err := m.Err(); err != nil {
		return 0, failed("the VM did not power off but ended: %v", err)
	}
	return p.Now().Sub(began), nil
}

// look is how long to wait before a guest agent that does not answer is asked again: it starts a moment after the
// services' line.
const look = 500 * time.Millisecond

// reported reads the guest's own report: it must be about this image, running, with every data disk mounted.
func (p Proof) reported(ctx context.Context, m Machine) error {
	within, cancel := context.WithTimeout(ctx, p.Boot)
	defer cancel()
	for {
		data, err := m.ReadFile(within, report.Path)
		if err == nil {
			if err = p.says(data); err == nil {
				return nil
			}
		}
		select {
		case <-within.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return failed("the guest's report: %v", err)
		case <-time.After(look):
		}
	}
}

// says checks one report.
func (p Proof) says(data []byte) error {
	var r report.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	if r.State != report.Running || r.Image.ID != p.Manifest.ID {
		return fmt.Errorf("state %q of image %s: %s", r.State, r.Image.ID, r.Error)
	}
	mounted := map[string]bool{}
	for _, d := range r.Disks {
		mounted[d.Mount] = d.Mounted
	}
	for _, d := range p.Manifest.Persist {
		if !mounted[d.Mount] {
			return errors.New(d.Mount + " is not mounted")
		}
	}
	return nil
}
