package lab

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/vmware/govmomi/vim25/types"
)

// publish shows what a guest says. The report is published only when it changed.
func (l *Lab) publish(m *machine, g Guest) {
	m.mu.Lock()
	old := m.guest
	m.guest = g
	m.mu.Unlock()
	if old.Tools == g.Tools && old.IP == g.IP && old.Hostname == g.Hostname && bytes.Equal(old.Report, g.Report) {
		return
	}
	if !bytes.Equal(old.Report, g.Report) {
		l.noteFormats(g.Report)
	}
	l.setGuest(m.ref, g, !bytes.Equal(old.Report, g.Report))
}

// setGuest writes guest properties and, when asked to, the report variable. A report that is nil removes the variable,
// as a power off does with every variable that the guest itself has set.
func (l *Lab) setGuest(ref types.ManagedObjectReference, g Guest, withReport bool) {
	vm := l.vm(ref)
	if vm == nil {
		return
	}
	ctx := l.context()
	ctx.WithLock(vm, func() {
		changes := guestChanges(g, vm.Guest.Net)
		if withReport {
			extra := withOption(vm.Config.ExtraConfig, report.Key, string(g.Report))
			changes = append(changes, types.PropertyChange{Name: "config.extraConfig", Val: extra})
			if l.cfg.GuestinfoBumps {
				changes = append(changes, bump()...)
			}
		}
		ctx.Update(vm, changes)
	})
}

func withOption(options []types.BaseOptionValue, key, value string) []types.BaseOptionValue {
	kept := slices.DeleteFunc(slices.Clone(options), func(o types.BaseOptionValue) bool { return o.GetOptionValue().Key == key })
	if value == "" {
		return kept
	}
	return append(kept, &types.OptionValue{Key: key, Value: value})
}

func guestChanges(g Guest, nics []types.GuestNicInfo) []types.PropertyChange {
	running, status := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning, types.VirtualMachineToolsStatusToolsNotRunning
	beat, state := types.ManagedEntityStatusGray, "notRunning"
	if g.Tools {
		running, status = types.VirtualMachineToolsRunningStatusGuestToolsRunning, types.VirtualMachineToolsStatusToolsOk
		beat, state = types.ManagedEntityStatusGreen, "running"
	}
	nics = slices.Clone(nics)
	for i := range nics {
		nics[i].IpAddress, nics[i].IpConfig = nil, nil
		if i == 0 && g.IP != "" {
			nics[i].IpAddress = []string{g.IP}
			nics[i].IpConfig = &types.NetIpConfigInfo{IpAddress: []types.NetIpConfigInfoIpAddress{{IpAddress: g.IP, PrefixLength: 24, State: "preferred"}}}
		}
	}
	return []types.PropertyChange{
		{Name: "guest.ipAddress", Val: g.IP}, {Name: "summary.guest.ipAddress", Val: g.IP},
		{Name: "guest.hostName", Val: g.Hostname}, {Name: "summary.guest.hostName", Val: g.Hostname},
		{Name: "guest.net", Val: nics}, {Name: "guest.guestState", Val: state},
		{Name: "guest.toolsStatus", Val: status}, {Name: "summary.guest.toolsStatus", Val: status},
		{Name: "guest.toolsRunningStatus", Val: string(running)}, {Name: "summary.guest.toolsRunningStatus", Val: string(running)},
		{Name: "guestHeartbeatStatus", Val: beat}, {Name: "summary.quickStats.guestHeartbeatStatus", Val: beat},
	}
}

// noteFormats tells the watch which disks a guest says it has formatted at this boot.
func (l *Lab) noteFormats(b []byte) {
	var r report.Report
	if json.Unmarshal(b, &r) != nil {
		return // no report, or half of one
	}
	_, paper := l.cfg.Driver.(Paper)
	for _, d := range r.Disks {
		if d.Formatted {
			l.watch.formatted(d.Serial, paper, r.BootID)
		}
	}
}
