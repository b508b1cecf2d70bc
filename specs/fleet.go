package specs

import (
	"fmt"
	"time"
)

// Fleet is one `fleet` block: VMs that run one image.
type Fleet struct {
	Pos        Pos
	Name       string
	Image      string   // name of an image block
	Channel    string   // channel of the store to follow; default "latest" unless Digest is set
	Digest     string   // "sha256:…" of the ISO to run; empty: follow Channel
	Size       int      // number of VMs, when Names is empty
	Names      []string // VM names of pets, instead of Size and Pattern
	Pattern    string   // printf pattern with one %d verb for the ordinal, for example "wrk-%02d"; empty with Names
	Placements []Placement
	VM         VM
	Disks      []Disk
	Drain      *Drain // nil: VMs are not drained
	Ready      Ready
	Rollout    Rollout
	ScaleIn    ScaleIn
	MaxAge     time.Duration // VMs that run longer than this are booted afresh; 0: never
	HealAfter  time.Duration // VMs that have not served for so long are power cycled; default 10m, 0: never
}

// Member is one VM of a fleet. Ordinals count from 1.
type Member struct {
	Name    string
	Ordinal int
}

// Members returns the fleet's VMs in ordinal order.
func (f Fleet) Members() []Member {
	if len(f.Names) > 0 {
		list := make([]Member, len(f.Names))
		for i, n := range f.Names {
			list[i] = Member{Name: n, Ordinal: i + 1}
		}
		return list
	}
	if f.Pattern == "" {
		return nil
	}
	list := make([]Member, f.Size)
	for i := range list {
		list[i] = Member{Name: fmt.Sprintf(f.Pattern, i+1), Ordinal: i + 1}
	}
	return list
}

// PlacementOf returns where the VM of that ordinal belongs: placements take turns, so that a growing fleet moves no VM.
func (f Fleet) PlacementOf(ordinal int) Placement {
	if len(f.Placements) == 0 || ordinal < 1 {
		return Placement{}
	}
	return f.Placements[(ordinal-1)%len(f.Placements)]
}

// Placement is one `placement` block. Names or inventory paths, as vSphere's finder takes them.
type Placement struct {
	Pos          Pos
	VCenter      string // name of a vcenter block; empty: the connection from the environment
	Datacenter   string
	Cluster      string // at most one of Cluster, Host and ResourcePool is set
	Host         string
	ResourcePool string
	Datastore    string // name, glob or datastore cluster
	Folder       string // VM folder, relative to the datacenter's
	Spread       string // "host" or "" (default)
}

// VM is the `vm` block.
type VM struct {
	Pos         Pos
	CPUs        int    // default 2
	Memory      Size   // default 2GiB, a multiple of 4 MiB
	Firmware    string // "bios" (default) or "efi"
	SecureBoot  bool   // UEFI Secure Boot; with firmware "efi" only
	GuestID     string // default "other4xLinux64Guest"
	Networks    []Network
	Guestinfo   map[string]string // keys without "guestinfo."
	ExtraConfig map[string]string
	Annotation  string
}

// Network is one `network` block: a NIC.
type Network struct {
	Pos  Pos
	Name string // network or port group
	Type string // "vmxnet3" (default) or "e1000e"
}

// Disk is one `disk` block: a data disk per VM. It is created once and never deleted by lkv.
type Disk struct {
	Pos          Pos
	Name         string
	Size         Size   // may grow, never shrinks
	Mount        string // must be served by a persist block of the image
	Datastore    string // empty: the placement's
	Provisioning string // "thin" (default) or "thick"
}

// Drain is the `drain` block. Exactly one of Swarm and Command is set.
type Drain struct {
	Pos     Pos
	Swarm   *Swarm
	Command []string // program and arguments, run with LKV_VM, LKV_NODE, LKV_PHASE, LKV_NEXT
	// Deadline and OnDeadline are those of Command: how long it may take, and whether the VM is rolled all the same
	// ("continue") or not ("abort", the default) when it is not done by then. Default 10m.
	Deadline   time.Duration
	OnDeadline string
}

// Swarm is the `swarm` block of a drain.
type Swarm struct {
	Pos        Pos
	Host       string // Docker API of a manager, for example "tcp://mgr:2376"
	CertPath   string // directory with ca.pem, cert.pem and key.pem
	Deadline   time.Duration
	OnDeadline string // "abort" (default) or "continue"
}

// Ready is the `ready` block: all that is set must hold, and then hold for Settle.
type Ready struct {
	Pos     Pos
	Tools   bool     // VMware Tools run; default true
	Mounted bool     // the guest says that every data disk is mounted; default true when the fleet has disks
	TCP     string   // port, or "{ip}:port"; empty: no check
	HTTP    string   // URL with {ip}; empty: no check
	Swarm   bool     // the node is ready in the swarm
	Command []string // program and arguments; exit 0 means ready
	Settle  time.Duration
	Timeout time.Duration // default 10m
}

// Strategies and reactions of a rollout.
const (
	InPlace   = "in-place"
	BlueGreen = "blue-green"
	HandOver  = "hand-over"
	Fresh     = "fresh"
	Pause     = "pause"
	Rollback  = "rollback"
)

// Rollout is the `rollout` block.
type Rollout struct {
	Pos              Pos
	Strategy         string // InPlace (default) or BlueGreen
	Disk             string // BlueGreen only: HandOver (default) or Fresh
	MaxUnavailable   Count  // default 1
	Surge            Count  // default 1 for BlueGreen, else 0
	Canaries         int
	Bake             time.Duration // how long canaries run before the rest follows
	Order            string        // "ordinal"
	OnFailure        string        // Pause (default) or Rollback
	MaxFailed        int           // default 1
	Grace            time.Duration // guest shutdown before power off; default 2m
	ProgressDeadline time.Duration // 0: none
	Window           *Window       // nil: always open
	RetireTTL        time.Duration // default 168h
}

// Window is the `window` block: when VMs may be rolled.
type Window struct {
	Pos      Pos
	Days     []time.Weekday // empty: every day
	From, To time.Duration  // since midnight; To before From reaches into the next day
	TZ       string         // IANA time zone; default "UTC"
}

// ScaleIn is the `scale_in` block.
type ScaleIn struct {
	Pos Pos
	Max Count // VMs that one run may lose; default 20%
}
