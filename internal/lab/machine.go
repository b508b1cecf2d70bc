package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// machine is the lab's side of one VM: the machine that runs for it, if one does.
type machine struct {
	ref  types.ManagedObjectReference
	name string
	dir  string

	op sync.Mutex // one power operation at a time; held while a machine starts or dies, never while a guest boots

	pub  sync.Mutex // held while something a guest said is shown, so that nothing is after its end
	live Machine    // whose words are shown; nil: off

	mu    sync.Mutex
	run   Machine // nil: off
	boots int
	guest Guest // last published
}

// machineOf returns the lab's side of a VM, made when it is first needed.
func (l *Lab) machineOf(v view) *machine {
	l.vmMu.Lock()
	defer l.vmMu.Unlock()
	m := l.vms[v.ref]
	if m == nil {
		m = &machine{ref: v.ref, name: v.name, dir: filepath.Join(l.cfg.Dir, "machines", v.dc, v.ref.Value)}
		l.vms[v.ref] = m
	}
	return m
}

func (l *Lab) forget(ref types.ManagedObjectReference) {
	l.vmMu.Lock()
	defer l.vmMu.Unlock()
	delete(l.vms, ref)
}

// running lists the machines that run now.
func (l *Lab) running() []Machine {
	l.vmMu.Lock()
	defer l.vmMu.Unlock()
	var ms []Machine
	for _, m := range l.vms {
		if r := m.current(); r != nil {
			ms = append(ms, r)
		}
	}
	return ms
}

func (m *machine) current() Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run
}

// PowerState of a VM: "poweredOn", "poweredOff" or "suspended".
type PowerState string

// VM is one VM as the lab knows it.
type VM struct {
	Name       string     `json:"name"`
	Datacenter string     `json:"datacenter"`
	Host       string     `json:"host"`
	Power      PowerState `json:"power"`
	Tools      bool       `json:"tools"`
	IP         string     `json:"ip"`     // as the guest reports it; empty when it does not
	Serial     string     `json:"serial"` // path of the serial console's log; empty before the first power on
	Boots      int        `json:"boots"`
	ISO        string     `json:"iso"` // datastore path
	Disks      []string   `json:"disks"`
	Networks   []string   `json:"networks"`
}

// VMs lists every VM by name.
func (l *Lab) VMs() []VM {
	all := l.all()
	vms := make([]VM, 0, len(all))
	for _, v := range all {
		vms = append(vms, l.show(v))
	}
	return vms
}

func (l *Lab) show(v view) VM {
	out := VM{Name: v.name, Datacenter: v.dc, Host: v.host, Power: PowerState(types.VirtualMachinePowerStatePoweredOff), Tools: v.tools}
	if v.on {
		out.Power = PowerState(types.VirtualMachinePowerStatePoweredOn)
	}
	for _, c := range v.cds {
		out.ISO = c.iso
	}
	for _, d := range v.disks {
		out.Disks = append(out.Disks, d.path)
	}
	for _, n := range v.nics {
		out.Networks = append(out.Networks, n.network)
	}
	m := l.machineOf(v)
	m.mu.Lock()
	defer m.mu.Unlock()
	out.Boots, out.IP = m.boots, m.guest.IP
	if m.run != nil {
		out.Serial = m.run.Serial()
	} else if m.boots > 0 {
		out.Serial = filepath.Join(m.dir, "serial.log")
	}
	return out
}

// VM finds a VM by name. It fails when there is none, or several in different folders.
func (l *Lab) VM(name string) (VM, error) {
	v, err := l.find(name)
	if err != nil {
		return VM{}, err
	}
	return l.show(v), nil
}

func (l *Lab) find(name string) (view, error) {
	var found []view
	for _, v := range l.all() {
		if v.name == name {
			found = append(found, v)
		}
	}
	if len(found) != 1 {
		return view{}, fmt.Errorf("%d VMs are named %q", len(found), name)
	}
	return found[0], nil
}

// CutPower kills a VM's machine as a power failure of its host would; the VM is then powered off.
func (l *Lab) CutPower(name string) error {
	v, err := l.find(name)
	if err != nil {
		return err
	}
	m := l.machineOf(v)
	r := m.current()
	if r == nil {
		return fmt.Errorf("VM %s is off", name)
	}
	r.Kill()
	return m.settled()
}

// settled waits until the VM's properties say that its machine is gone.
func (m *machine) settled() error {
	for range 2000 {
		if m.current() == nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("VM %s did not power off", m.name)
}

// follow waits until the machine is off, whoever did it, and shows the VM powered off.
func (l *Lab) follow(m *machine, r Machine) {
	defer l.wg.Done()
	<-r.Done()
	m.pub.Lock()
	m.live = nil
	m.pub.Unlock()
	l.markOff(m.ref)
	m.mu.Lock()
	m.run, m.guest = nil, Guest{}
	m.mu.Unlock()
	l.logf("%s is off", m.name)
}

// boot starts the machine behind a VM that the simulator has powered on.
func (l *Lab) boot(m *machine, v view) types.BaseMethodFault {
	m.mu.Lock()
	m.boots++
	count := m.boots
	m.mu.Unlock()
	b, fault := l.bootOf(m, v, count)
	if fault != nil {
		return fault
	}
	var r Machine
	ready := make(chan struct{})
	publish := func(g Guest) {
		<-ready
		m.pub.Lock()
		defer m.pub.Unlock()
		if m.live == r && r != nil {
			l.publish(m, g)
		}
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	run, err := l.cfg.Driver.Boot(ctx, b, publish)
	if err != nil {
		close(ready)
		l.logf("power on %s: %v", v.name, err)
		return &types.GenericVmConfigFault{Reason: err.Error()}
	}
	r = run
	m.pub.Lock()
	m.live = r
	m.pub.Unlock()
	m.mu.Lock()
	m.run, m.guest = r, Guest{}
	m.mu.Unlock()
	close(ready)
	l.logf("%s is on", v.name)
	l.wg.Add(1)
	go l.follow(m, r)
	return nil
}
