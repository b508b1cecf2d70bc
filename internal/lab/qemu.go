package lab

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/report"
)

// QEMU is a driver whose machines are real: QEMU boots the VM's ISO with its disks and network cards, and the guest
// agent says what VMware's tools would. Without KVM a boot takes minutes rather than seconds.
type QEMU struct {
	// Poll is the pause between two looks at the guest; default one second.
	Poll time.Duration
}

// agentWait bounds one question to a guest agent; silent is how many unanswered questions in a row mean that the tools
// do not run any more. Under emulation a busy guest may take seconds to answer.
const (
	agentWait = 10 * time.Second
	silent    = 3
)

// qemuMachine is one power-on of a QEMU VM.
type qemuMachine struct {
	m       *qemu.Machine
	mac     string // of the first network card; empty without one
	publish func(Guest)
	poll    time.Duration
}

// Boot starts QEMU.
func (q QEMU) Boot(ctx context.Context, b Boot, publish func(Guest)) (Machine, error) {
	cfg := qemu.Config{Name: b.VM, Dir: b.Dir, MemoryMiB: b.MemoryMiB, CPUs: b.CPUs, Firmware: b.Firmware, SecureBoot: b.SecureBoot, ISO: b.ISO, Guestinfo: b.Guestinfo}
	if b.SecureBoot {
		vars, err := varsFor(b.Dir, b.DB)
		if err != nil {
			return nil, err
		}
		cfg.Vars = vars
	}
	for _, d := range b.Disks {
		ctl := d.Controller
		if ctl == "ide" {
			ctl = "ahci"
		}
		cfg.Disks = append(cfg.Disks, qemu.Disk{Path: d.Path, Serial: d.Serial, Controller: ctl})
	}
	for _, n := range b.NICs {
		socket, err := n.Plug()
		if err != nil {
			return nil, fmt.Errorf("plug in %s: %w", n.Network, err)
		}
		cfg.NICs = append(cfg.NICs, qemu.NIC{MAC: n.MAC, Model: n.Model, Socket: socket})
	}
	m, err := qemu.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	run := &qemuMachine{m: m, publish: publish, poll: q.Poll}
	if run.poll <= 0 {
		run.poll = time.Second
	}
	if len(b.NICs) > 0 {
		run.mac = b.NICs[0].MAC
	}
	go run.watch()
	return run, nil
}

// watch asks the guest agent until the machine is off.
func (r *qemuMachine) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-r.m.Done()
		cancel()
	}()
	missed := 0
	for {
		g, err := r.ask(ctx)
		switch {
		case err == nil:
			missed = 0
			r.publish(g)
		case missed < silent:
			missed++
		default:
			r.publish(Guest{})
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.poll):
		}
	}
}

// ask collects what the guest says now. A guest without a report is one that did not write it yet, or has no lkv.
func (r *qemuMachine) ask(ctx context.Context) (Guest, error) {
	ctx, cancel := context.WithTimeout(ctx, agentWait)
	defer cancel()
	a := r.m.Agent()
	if err := a.Ping(ctx); err != nil {
		return Guest{}, err
	}
	g := Guest{Tools: true}
	ifs, err := a.Interfaces(ctx)
	if err != nil {
		return Guest{}, err
	}
	g.IP = addressOf(ifs, r.mac)
	if g.Hostname, err = a.Hostname(ctx); err != nil {
		return Guest{}, err
	}
	if b, err := a.ReadFile(ctx, report.Path); err == nil {
		g.Report = b
	}
	return g, nil
}

// addressOf is the first IPv4 address of the card with that MAC address: bridges inside the guest have others.
func addressOf(ifs []qemu.Interface, mac string) string {
	for _, i := range ifs {
		if !strings.EqualFold(i.MAC, mac) {
			continue
		}
		for _, ip := range i.IPv4 {
			if p := net.ParseIP(ip); p != nil && !p.IsLoopback() && !p.IsLinkLocalUnicast() {
				return ip
			}
		}
	}
	return ""
}

// Shutdown presses the ACPI power button.
func (r *qemuMachine) Shutdown(ctx context.Context) error { return r.m.Powerdown(ctx) }

// Reset presses the reset button.
func (r *qemuMachine) Reset(ctx context.Context) error { return r.m.Reset(ctx) }

// Kill cuts the power.
func (r *qemuMachine) Kill() { r.m.Kill() }

// Done is closed when QEMU has ended.
func (r *qemuMachine) Done() <-chan struct{} { return r.m.Done() }

// Serial is the path of the console's log; boots append to it.
func (r *qemuMachine) Serial() string { return r.m.Serial() }
