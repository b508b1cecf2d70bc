// Package prove boots an ISO in real virtual machines and finds out whether data on its disks survives: written
// through the mounted path, the power cut, booted again with the other firmware, then without the disk and with
// somebody else's. What it cannot see it does not believe.
//
// Not supported: images whose PID 1 is not lkv's. Their console does not say what became of the disk.
package prove

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/manifest"
)

// Proof is one ISO to boot and everything that takes. Every field is needed.
type Proof struct {
	ISO       string // path
	Manifest  manifest.Manifest
	Nonces    [2]string // what the first and the second boot write: different, 1 to 64 lower-case hex digits
	MemoryMiB int
	CPUs      int
	DiskSize  int64         // bytes of each data disk, sparse
	Boot      time.Duration // how long one boot may take
	Grace     time.Duration // how long a guest may take to power off
	Work      string        // existing directory for disks and VMs; the caller removes it
	Logs      string        // existing directory; every boot leaves NAME.log, a failed one NAME.png
	Start     Start
	Now       func() time.Time
	Watch     func(title string) (end func(Step)) // called when a step begins; end when it has ended
}

// Step is one proven or refuted statement: one boot.
type Step struct {
	Name    string  `json:"name"` // also of the files in Logs, for example "3-no-disk"
	Title   string  `json:"title"`
	Proven  bool    `json:"proven"`
	Detail  string  `json:"detail"` // what was seen, or what should have been
	Seconds float64 `json:"seconds"`
}

// Result is the verdict. Steps are those that were made: the first one that is refuted is the last.
type Result struct {
	ISO     string `json:"iso"` // file name
	Image   string `json:"image"`
	ID      string `json:"id"`
	Proven  bool   `json:"proven"`
	Verdict string `json:"verdict"` // one line, begins with "proven: " or "NOT proven: "
	Steps   []Step `json:"steps"`
}

// Run makes the proof. An error is about this machine (no QEMU, no space, a cancelled context, an ISO that is not the
// manifest's); what is wrong with the image is in the result.
func (p Proof) Run(ctx context.Context) (Result, error) {
	r := Result{ISO: filepath.Base(p.ISO), Image: p.Manifest.Image, ID: p.Manifest.ID, Steps: []Step{}}
	if err := p.checkISO(); err != nil {
		return r, err
	}
	if why := blind(p.Manifest); why != "" {
		r.Verdict = fmt.Sprintf("NOT proven: %s: cannot see: %s", r.ISO, why)
		return r, nil
	}
	scenes, err := p.scenes()
	if err != nil {
		return r, err
	}
	for _, s := range scenes {
		step, err := p.run(ctx, s)
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.title, err)
		}
		r.Steps = append(r.Steps, step)
		if !step.Proven {
			r.Verdict = fmt.Sprintf("NOT proven: %s: %s: %s", r.ISO, step.Title, step.Detail)
			return r, nil
		}
	}
	r.Proven, r.Verdict = true, fmt.Sprintf("proven: %s: %s", r.ISO, p.claim())
	return r, nil
}

// checkISO refuses a file that is not the one the manifest describes: the proof would be about something else.
func (p Proof) checkISO() error {
	f, err := os.Open(p.ISO)
	if err != nil {
		return fmt.Errorf("open ISO: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read ISO: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != p.Manifest.ISO.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s, its manifest says %s: build the image again", p.ISO, got, p.Manifest.ISO.SHA256)
	}
	return nil
}

// claim is what a proof with every step proven says.
func (p Proof) claim() string {
	first, second := p.firmwares()
	boots := "boots with " + named[first]
	if second != first {
		boots += " and " + named[second]
	}
	if len(p.Manifest.Persist) == 0 {
		return "it " + boots + " and powers off; it has no data disk, so nothing is said about data"
	}
	var mounts []string
	for _, d := range p.Manifest.Persist {
		mounts = append(mounts, d.Mount)
	}
	return "it " + boots + "; " + strings.Join(mounts, " and ") +
		" kept its data over a power cut; without the disk no service starts; foreign disks stay as they are"
}
