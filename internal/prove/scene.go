package prove

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
)

// scene is one boot and what must be seen in it.
type scene struct {
	name, title string
	firmware    string
	disks       []qemu.Disk
	nonce       string // what the guest is asked to write
	look        func(ctx context.Context, m Machine) (note string, err error)
	foreign     bool // the disks are somebody else's: no byte may change
}

// failure is what is wrong with the image, as against what is wrong with this machine.
type failure string

func (f failure) Error() string { return string(f) }

func failed(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }

var named = map[string]string{qemu.BIOS: "BIOS", qemu.EFI: "UEFI"}

// firmwares are those of the first and the second boot: both that the image has, else the one twice.
func (p Proof) firmwares() (first, second string) {
	first, second = qemu.BIOS, qemu.EFI
	if !slices.Contains(p.Manifest.Boot, "bios") {
		first = qemu.EFI
	}
	if !slices.Contains(p.Manifest.Boot, "uefi") {
		second = qemu.BIOS
	}
	return first, second
}

// scenes are the steps of the proof, in order.
//
// An image formats a disk only when it is the one blank disk, so each data disk gets a first boot of its own.
func (p Proof) scenes() ([]scene, error) {
	one, two := p.firmwares()
	disks, err := p.blanks()
	if err != nil {
		return nil, err
	}
	var list []scene
	for n := 1; n < len(disks); n++ {
		list = append(list, scene{name: fmt.Sprintf("1-disk-%d", n), title: fmt.Sprintf("%s, blank disk %d of %d", named[one], n, len(disks)),
			firmware: one, disks: disks[:n], nonce: p.Nonces[0], look: p.prepares(n - 1)})
	}
	title := ", blank disk, then power cut"
	if len(disks) == 0 {
		title = ", power cut"
	}
	list = append(list,
		scene{name: "1-first", title: named[one] + title, firmware: one, disks: disks, nonce: p.Nonces[0], look: p.first},
		scene{name: "2-again", title: named[two] + ", after the power cut", firmware: two, disks: disks, nonce: p.Nonces[1], look: p.again})
	if len(disks) == 0 {
		return list, nil
	}
	foreign, err := p.foreigners()
	if err != nil {
		return nil, err
	}
	return append(list,
		scene{name: "3-no-disk", title: named[one] + ", no data disk", firmware: one, nonce: p.Nonces[1], look: p.refuses},
		scene{name: "4-foreign", title: named[one] + ", foreign disks", firmware: one, disks: foreign, foreign: true, nonce: p.Nonces[1], look: p.refuses}), nil
}

// run makes one step of the proof. The error is one of this machine, as of Run.
func (p Proof) run(ctx context.Context, s scene) (Step, error) {
	end, began := p.Watch(s.title), p.Now()
	note, err := p.guard(ctx, s)
	step := Step{Name: s.name, Title: s.title, Proven: err == nil, Detail: note, Seconds: p.Now().Sub(began).Seconds()}
	if err != nil {
		step.Detail = err.Error()
	}
	end(step)
	var f failure
	if errors.As(err, &f) {
		err = nil
	}
	return step, err
}

// guard plays a scene and watches over foreign disks. What happened to them is worse than anything else.
func (p Proof) guard(ctx context.Context, s scene) (string, error) {
	if !s.foreign {
		return p.play(ctx, s)
	}
	before, err := digests(s.disks)
	if err != nil {
		return "", err
	}
	note, err := p.play(ctx, s)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	now, derr := digests(s.disks)
	switch {
	case derr != nil:
		return "", derr
	case !slices.Equal(before, now):
		return "", failed("a foreign disk was changed")
	}
	return note + "; every byte as before", err
}

// play boots, looks, and leaves the console's log, of a failure the screen too. The power is off when it returns.
func (p Proof) play(ctx context.Context, s scene) (note string, err error) {
	dir := filepath.Join(p.Work, s.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	m, err := p.Start(ctx, qemu.Config{
		Name: s.name, Dir: dir, ISO: p.ISO, MemoryMiB: p.MemoryMiB, CPUs: p.CPUs, Firmware: s.firmware, Disks: s.disks,
		NICs: []qemu.NIC{{}}, Guestinfo: guestinfo(s.nonce),
	})
	if err != nil {
		return "", err
	}
	defer m.Kill()
	note, err = s.look(ctx, m)
	if err != nil && ctx.Err() == nil {
		_ = m.Screenshot(ctx, filepath.Join(p.Logs, s.name+".png")) // a VM that has ended has no screen
	}
	m.Kill()
	if kerr := keep(m.Serial(), filepath.Join(p.Logs, s.name+".log")); err == nil {
		err = kerr
	}
	return note, err
}

// keep copies a console's log. A VM that printed nothing may have none.
func keep(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep log: %w", err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		return fmt.Errorf("keep log: %w", err)
	}
	return nil
}

// guestinfo asks the guest to leave the nonce on its disks.
func guestinfo(nonce string) map[string]string { return map[string]string{report.ProveKey: nonce} }
