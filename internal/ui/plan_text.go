package ui

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

var signs = map[string]string{
	"create": "+", "roll": "~", "finish": ">", "start": ">", "release": "<", "rollback": "<",
	"replace": "±", "reboot": "~", "heal": "~", "retire": "-", "note": ".",
}

// Write renders the plan as text.
func (d PlanDoc) Write(w io.Writer, s Style) error {
	var b strings.Builder
	for _, f := range d.Fleets {
		f.write(&b, s)
	}
	summary := fmt.Sprintf("mutating calls: %d in %d steps, destructive ops: %d", d.MutatingCalls, d.ChangingSteps, d.DestructiveOps)
	if d.DestructiveOps > 0 {
		summary = s.Bad(summary + ", data disks at risk: " + strings.Join(d.DisksAtRisk, ", "))
	}
	b.WriteString(summary + "\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

func (f FleetPlan) write(b *strings.Builder, s Style) {
	rolls := 0
	for _, w := range f.Waves {
		rolls += len(w.Rolls)
	}
	fmt.Fprintf(b, "%s: %d to change, %d as wanted, %d refused", s.Bold("fleet "+f.Name), rolls, len(f.Same), len(f.Blocked))
	if len(f.Later) > 0 {
		fmt.Fprintf(b, ", %d waiting", len(f.Later))
	}
	b.WriteString("\n")
	if f.Strategy != "" {
		how := f.Strategy
		if f.Disk != "" {
			how += ", " + f.Disk
		}
		fmt.Fprintf(b, "  %s\n", s.Faint(fmt.Sprintf("image %s %s, %d VMs, %s, %d at once%s", f.Image, Short(f.SHA256), f.Size, how, f.AtOnce, f.Estimate)))
	}
	for i, w := range f.Waves {
		fmt.Fprintf(b, "  wave %d%s\n", i+1, s.Faint(about(w.Seconds)))
		for _, r := range w.Rolls {
			r.write(b, s)
		}
	}
	for _, x := range f.Blocked {
		x.write(b, s)
	}
	for _, l := range f.Later {
		l.write(b, s)
	}
	if len(f.Same) > 0 {
		fmt.Fprintf(b, "  %s %s\n", s.Good("="), s.Faint(strings.Join(f.Same, ", ")))
	}
	for _, vm := range f.Extra {
		text := "is not wanted any more"
		if !f.mentions(vm) {
			text += " and is left alone for now"
		}
		fmt.Fprintf(b, "  %s %s  %s\n", s.Warn("-"), s.Bold(vm), text)
	}
	for _, vm := range f.Retired {
		disks := "with its disks"
		if f.bare[vm] {
			disks = "without any disk"
		}
		fmt.Fprintf(b, "  %s %s  is retired and kept, %s, until lkv gc\n", s.Faint("z"), vm, disks)
	}
	b.WriteString("\n")
}

// mentions tells whether a VM is rolled, refused or waits.
func (f FleetPlan) mentions(vm string) bool {
	return slices.ContainsFunc(f.Waves, func(w Wave) bool { return slices.ContainsFunc(w.Rolls, func(r Roll) bool { return r.VM == vm }) }) ||
		slices.ContainsFunc(f.Blocked, func(b Blocked) bool { return b.VM == vm }) ||
		slices.ContainsFunc(f.Later, func(l Later) bool { return l.VM == vm })
}

// String says that it is a guess, and of what; it is empty when there is nothing to guess.
func (e Estimate) String() string {
	if e.Now == 0 && e.Later == 0 {
		return ""
	}
	var parts []string
	if e.Now > 0 {
		parts = append(parts, "about "+span(e.Now))
	}
	if e.Later > 0 {
		parts = append(parts, "about "+span(e.Later)+" for those that wait, once they may go on")
	}
	text := "; estimated: " + strings.Join(parts, ", ")
	if e.Drained {
		text += ", drains not counted"
	}
	return text
}

// about is a guess at how long something takes, for the end of its line; empty when it takes no time.
func about(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return ", about " + span(seconds)
}

func span(seconds float64) string { return Duration(time.Duration(seconds * float64(time.Second))) }

func (r Roll) write(b *strings.Builder, s Style) {
	sign := signs[r.Action]
	if sign == "" {
		sign = "?"
	}
	fmt.Fprintf(b, "  %s %s  %s: %s%s\n", s.Warn(sign), s.Bold(r.VM), r.Action, Brief(r.Reason), s.Faint(about(r.Seconds)))
	for _, p := range r.VMs {
		if len(r.VMs) > 1 || p.Becomes != p.Name {
			fmt.Fprintf(b, "      %s\n", p)
		}
	}
	for _, step := range r.Steps {
		fmt.Fprintf(b, "      %s\n", s.Faint(Brief(step)))
	}
	for _, d := range r.DataDisks {
		ops := fmt.Sprintf("destructive ops: %d", d.DestructiveOps)
		if d.DestructiveOps > 0 {
			ops = s.Bad(ops)
		}
		on := ""
		if d.VM != "" && d.VM != r.VM {
			on = ", on " + d.VM
		}
		fmt.Fprintf(b, "      %s%s: %s; detaches %d, %s\n", d, on, d.What, d.Detaches, ops)
	}
}

// String says what becomes of the VM.
func (p Part) String() string {
	text := "VM " + p.Name
	switch {
	case p.New && p.Becomes != p.Name:
		return text + " is new and becomes " + p.Becomes
	case p.New:
		return text + " is new"
	case p.Retired:
		return text + " is retired as " + p.Becomes + " and kept until lkv gc"
	case p.Becomes != p.Name:
		return text + " becomes " + p.Becomes
	}
	return text + " stays"
}

// String names the disk: name, UUID, size, path, mount.
func (d DataDisk) String() string {
	words := []string{"data disk", d.Name, d.UUID, d.Path}
	if d.UUID == "" {
		words = []string{"new data disk", d.Name, d.Path}
	}
	if d.Bytes > 0 {
		words = append(words, Bytes(d.Bytes))
	}
	if d.Mount != "" {
		words = append(words, "at "+d.Mount)
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func (x Blocked) write(b *strings.Builder, s Style) {
	who := x.VM
	if who == "" {
		who = "the whole fleet"
	}
	fmt.Fprintf(b, "  %s %s  %s %s\n", s.Bad("!"), s.Bold(who), s.Bad("refused "+x.Code+":"), x.Reason)
	if x.Clear != "" {
		fmt.Fprintf(b, "      to clear: %s\n", x.Clear)
	}
}

func (l Later) write(b *strings.Builder, s Style) {
	until := ""
	if !l.Until.IsZero() {
		until = ", until " + l.Until.UTC().Format("2006-01-02 15:04Z")
	}
	fmt.Fprintf(b, "  %s %s  waits: %s%s\n", s.Warn("…"), s.Bold(l.VM), l.Reason, until)
}
