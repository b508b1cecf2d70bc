// Package plan decides what to do with a fleet. It is pure: no I/O, no clock, no randomness, and Compute cannot
// fail. It takes values (what is wanted, what was observed, the time) and returns a Plan.
package plan

import (
	"fmt"
	"time"
)

// Desired is one fleet as the user wants it.
type Desired struct {
	Fleet   string
	Image   Image
	VMs     []WantVM // ordinal order; names are unique
	Rollout Rollout
	Claimer string        // who plans: owner of the claims this run may write
	TTL     time.Duration // how long a claim lives without renewal
	Targets []string      // only these VMs are rolled, created or retired; empty: all
}

// Image is the ISO a fleet should run.
type Image struct {
	Name   string            // image block
	Digest string            // SHA-256 of the ISO, 64 hex digits
	ID     string            // image ID that a guest running it reports
	Paths  map[string]string // store key (see Placement.Store) -> "[ds] lkv/worker/<sha256>.iso"; missing = not on that store
	Mounts []Mount           // from the manifest; nil when the manifest is missing
	RAM    int64             // bytes the boot needs before any workload; 0 when unknown
	Boot   []string          // firmware the ISO boots with
	Trust  Trust             // why firmware with Secure Boot starts it
	Known  bool              // the manifest was found and its digest is the ISO's
	Engine string            // Docker Engine version, "28.3.1"; empty when unknown

	// Commands that refusals print, as only the spec knows channels and registries.
	Bring   string // brings this ISO to a store, with --store NAME behind it; empty: lkv push --image NAME
	Rebuild string // makes another ISO of the image the wanted one; empty: lkv build and lkv push
}

// rebuild is the command that makes another ISO the wanted one.
func (im Image) rebuild() string {
	if im.Rebuild != "" {
		return im.Rebuild
	}
	return fmt.Sprintf("lkv build --image %s && lkv push --image %s", im.Name, im.Name)
}

// bring is the command that brings the wanted ISO to a store.
func (im Image) bring(store string) string {
	if im.Bring != "" {
		return im.Bring + " --store " + store
	}
	return fmt.Sprintf("lkv push --image %s --store %s", im.Name, store)
}

// Mount is one data disk that an image would mount.
type Mount struct {
	Path, Label, Filesystem string
	UUID                    string // disk UUID the image finds it by; empty when found by label
	Force, Gated            bool
}

// Rollout bounds how a fleet changes.
type Rollout struct {
	Strategy       string        // InPlace or BlueGreen
	Disk           string        // BlueGreen only: HandOver or Fresh
	MaxUnavailable int           // VMs that may be not ready because of us; at least 1 in place and for a hand-over
	Surge          int           // BlueGreen only: VMs above the fleet's size; at least 1
	Canaries       int           // VMs that get a new image first, one at a time
	Bake           time.Duration // how long the canaries must have run it before the rest follows
	OnFailure      string        // "pause" or "rollback"
	MaxFailed      int           // failed VMs at which the fleet stands still; 0 means 1
	Progress       time.Duration // a roll that began longer ago has failed; 0: no bound
	Window         *Window       // when VMs that serve may be rolled; nil: always
	MaxAge         time.Duration // VMs that run longer are booted afresh; 0: never
	Heal           time.Duration // a VM that has not served for so long is power cycled; 0: never
	ScaleIn        int           // VMs that are not wanted any more and may go at once; R14 above it
	NoBrake        bool          // a person has looked: R12 for too many VMs that do not serve is not applied
	Drain          bool          // VMs are drained before they go down, and restored when they are back
	Grace          time.Duration // guest shutdown before power off
	Timeout        time.Duration // AwaitReady's deadline
	Settle         time.Duration // ready must hold this long
	NoTools        bool          // the gate does not ask for running tools
	NoMounted      bool          // the gate does not ask for mounted data disks
}

// Strategies, and what becomes of the data disk in a blue-green roll.
const (
	InPlace   = "in-place"
	BlueGreen = "blue-green"
	HandOver  = "hand-over"
	Fresh     = "fresh"
)

// Window is when VMs that serve may be rolled: on Days from From to To, counted from midnight in Zone. To before From
// reaches into the next day.
type Window struct {
	Days     []time.Weekday // empty: every day
	From, To time.Duration
	Zone     *time.Location
}

// WantVM is one VM of the fleet.
type WantVM struct {
	Name        string
	Ordinal     int
	Place       Placement
	CPUs        int
	MemoryMiB   int64
	Firmware    string // "bios" or "efi"
	SecureBoot  bool   // UEFI Secure Boot; with firmware "efi" only
	GuestID     string
	Networks    []Network
	ExtraConfig map[string]string // guestinfo included, under its full key
	Annotation  string
	Disks       []WantDisk
}

// Placement says where a VM is created. Names or inventory paths, as vSphere's finder takes them.
type Placement struct {
	VCenter, Datacenter, Cluster, Host, ResourcePool, Datastore, Folder string
	Store                                                               string // store whose ISO this VM uses
}

// Network is one NIC.
type Network struct{ Name, Type string }

// WantDisk is one data disk. It is created once and never deleted by lkv.
type WantDisk struct {
	Name      string
	Bytes     int64
	Mount     string
	Datastore string // empty: the VM's
	Thin      bool
}

// Observed is one complete look at a fleet. When Problem is not empty nothing may be concluded from the rest (law 6, R15).
type Observed struct {
	Problem string
	Denied  bool       // Problem names a privilege that is missing, and on what (R20)
	VMs     []VM       // VMs that carry this fleet's owner key, and VMs that merely have a wanted name (Owner empty or other)
	Hidden  []Hidden   // datastores whose disks could not be listed
	Files   []DiskFile // data disk files under [ds] lkv-disks/<fleet>/
	Made    []string   // data disks that were ever made, by their markers, as paths without datastore (D7)
}

// Power is a VM's power state.
type Power string

// Power states, with vSphere's words (VirtualMachinePowerState).
const (
	On        Power = "poweredOn"
	Off       Power = "poweredOff"
	Suspended Power = "suspended"
)

// VM is one observed VM.
type VM struct {
	Name          string
	ID            string // instance UUID
	Ref           string // managed object reference, for messages
	VCenter       string // that it is in, by the name that placements give it; empty when the fleet has one only
	Fleet         string // owner key's fleet; empty when the VM is not ours
	Ordinal       int
	ChangeVersion string
	Power         Power
	ISO           string // CD-ROM backing "[ds] path"; empty when none
	CPUs          int
	MemoryMiB     int64
	Firmware      string
	SecureBoot    bool
	Keys          []string // names (see KeyOf) of the certificates of lkv that its NVRAM was or will be made with; sorted
	Record        Record
	Disks         []Disk   // every virtual disk attached
	Busy          []string // why it must not be touched: pending question, running task, template, suspended, inaccessible (R08)
	Task          string   // task lkv must wait for first; empty when none
	Guest         Guest
	Age           time.Duration // since power on; 0 when off or unknown
	Host          string        // host it runs on or is registered with
	Home          string        // datastore path of its own folder "[ds] wrk-01"; what lies there dies with the VM
}

// Record is what lkv wrote into the VM's extraConfig (lkv.* keys).
type Record struct {
	Image       string // digest of the ISO the VM should run; written in the same call as the CD-ROM backing
	ImageID     string // its image ID
	Previous    string // digest before
	PreviousISO string // datastore path before
	Token       string // written with the ISO swap, echoed by the guest
	Key         string // name (see KeyOf) of the certificate that Image is signed with; empty: none of one's own
	Epoch       int    // counts claims; never goes back
	Owner       string // holder of the claim; empty when free
	Expires     time.Time
	Started     time.Time    // when the roll in progress began; zero when none
	Disks       []DiskRecord // data disks this VM has; a disk named here is never created again (D7)
	Failed      string       // why the last roll failed; stops the fleet (A7)
	Paused      bool

	PreviousID string       // image ID of Previous
	Engine     string       // newest Docker Engine that ran on these disks; "" when unknown (R04)
	EngineWas  string       // Engine before Image ran; a roll back must not go below Engine
	Rolled     time.Time    // when the last roll ended with its gate passed; zero as long as Image has never passed it
	Due        bool         // the claim was taken to boot the VM afresh although nothing else differs; until the ISO swap
	Drained    bool         // drained by this roll and not restored yet
	Ill        time.Time    // when it was first seen not serving; zero when it serves
	Spurned    string       // digest whose roll failed here and was rolled back; never rolled back from again
	Replaces   string       // blue-green: instance UUID of the VM whose place this one takes; until it has it
	Takes      []DiskRecord // hand-over: data disks that come from that VM; each moves to Disks when it is attached (D5)
	Generation int          // of its data disks: 0 for the first, one more for each blue-green roll with fresh disks
	Retired    time.Time    // when it was retired: off, renamed, kept until lkv gc; zero while in use
}

// DiskRecord names one data disk in a record. In a plan UUID is empty while the file does not exist yet: whoever
// executes CreateVM or AttachDisk takes it from the file and writes it into the record.
type DiskRecord struct {
	Name, UUID, Path  string
	Label, Filesystem string // what the image that created it formatted it with; empty when unknown
}

// Disk is one attached virtual disk.
type Disk struct {
	UUID, Path string
	Bytes      int64
	Mode       string // vSphere's diskMode
	Parent     bool   // snapshot or linked clone: a delta backing
	Shared     bool   // multi-writer
}

// Hidden is a datastore that cannot be looked into now: any disk may lie there, so none is made meanwhile (D7). With
// VCenter it lies where no VM of the fleet is placed; without Datastore it is all of that vCenter.
type Hidden struct{ VCenter, Datacenter, Datastore, Why string }

// DiskFile is a data disk file on a datastore.
type DiskFile struct {
	Path, UUID string
	Bytes      int64
}

// Guest is what the VM's tools and our guest program say.
type Guest struct {
	Tools   bool
	IP      string
	Token   string // Report.Token
	ImageID string // Report.Image.ID
	BootID  string
	State   string // Report.State
	Error   string
	Mounts  []GuestMount
	Probes  []Probe // ready checks made from outside (tcp, http, command), filled by the engine
}

// GuestMount is a mounted data disk, as the guest reports it.
type GuestMount struct{ Path, Serial string }

// Probe is the outcome of one outside ready check.
type Probe struct {
	Name string
	OK   bool
	Why  string
}

// Plan is what to do, in order. A refusal is a value with a code, never silently skipped.
type Plan struct {
	Waves   []Wave
	Blocked []Blocked
	Same    []string // VMs that are as they should be
	Extra   []string // VMs of the fleet that are not desired any more
	Retired []string // VMs that were retired and wait for lkv gc
	Later   []Later  // VMs that wait: a window, canaries that bake, a target

	Fleet          string // whose plan this is
	Claimer        string // owner of every claim in it; empty in what a person asks for
	MaxUnavailable int    // the bound Check holds the waves to
	Surge          int    // the bound Check holds green VMs to
	MaxFailed      int    // failed VMs at which Check lets nothing but a roll back pass

	Want *Desired  // what it was made for: the policy that Check holds the waves to; nil in what a person asks for
	Now  time.Time // when it was made; zero in what a person asks for
}

// Later is a VM that is not as wanted and waits, with the reason; nothing is wrong with it.
type Later struct {
	VM     string    `json:"vm"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"` // when it may go on; zero when that is no matter of time
}

// Wave is a set of rolls that may run at the same time. The engine runs one wave, then looks again.
type Wave struct{ Rolls []Roll }

// Roll is what happens to one VM, with the reason in plain words.
type Roll struct {
	VM     string
	Action Action
	Reason string
	Steps  []Step
}

// Action names a roll.
type Action string

// Actions.
const (
	Create   Action = "create"   // VM is missing
	RollISO  Action = "roll"     // VM runs another ISO
	Finish   Action = "finish"   // VM is halfway: a run before us stopped here
	Start    Action = "start"    // VM is powered off and should run
	GiveBack Action = "release"  // VM was claimed but not touched, and must wait after all
	Rollback Action = "rollback" // put the previous ISO back
	Replace  Action = "replace"  // blue-green: another VM takes its place
	Reboot   Action = "reboot"   // same image, fresh boot: too old
	HealVM   Action = "heal"     // same image, fresh boot: it does not serve
	Retiring Action = "retire"   // not wanted any more: off and renamed, kept with its disks
	Note     Action = "note"     // write down since when it does not serve, or that it does again
	Stop     Action = "pause"    // a person stops the fleet
	TakeOver Action = "adopt"    // a person gives an existing VM to the fleet
	LetGo    Action = "forget"   // a person takes a VM out of lkv's hands, untouched
	Remove   Action = "remove"   // a person removes a retired VM; its disks stay
	GoOn     Action = "resume"   // a person has looked: clear what makes the fleet stand still
)

// Blocked is one refusal. It is a value of the plan first, and an error where an executor refuses on its own look.
type Blocked struct { //nolint:errname // the plan's word, see architecture "Words"
	VM     string `json:"vm"` // empty: the whole fleet
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
	Clear  string `json:"clear"` // the command or action that clears it
}

// Code is a stable refusal code, R01 to R22.
type Code string

// Step is one mutating call or one wait. The set is closed: only this package defines steps.
// There is no step that deletes a data disk.
type Step interface {
	VM() string
	String() string
	step()
}

type base struct{ Name string }

// VM returns the name of the VM the step is about.
func (b base) VM() string { return b.Name }
func (b base) step()      {}

type (
	// AwaitTask waits for a task that somebody already started.
	AwaitTask struct {
		base
		Task string
	}
	// CreateDisk makes a data disk file that has never existed. Done when the file exists with that size.
	CreateDisk struct {
		base
		Place Placement
		Disk  WantDisk
		Path  string // "[ds] lkv-disks/<fleet>/<vm>-<disk>.vmdk"
	}
	// CreateVM makes the VM with NICs, CD-ROM, controller and extraConfig (owner key, claim, disk record), powered off
	// and without data disks. Done only when the VM carries our owner key and this step's claim (owner and epoch);
	// with another live claim it is R16.
	CreateVM struct {
		base
		Want   WantVM
		Fleet  string
		Record Record
		ISO    string
	}
	// AttachDisk attaches an existing data disk file in mode DiskMode, without any file operation.
	AttachDisk struct {
		base
		Disk DiskRecord
	}
	// Claim writes owner, epoch, start and expiry under changeVersion. It takes a claim when the record's epoch is
	// Epoch-1 and nobody else's claim is alive, and renews it when the record has this owner and this epoch, even
	// when it has expired: the epoch proves that nobody took over. Anything else is R16.
	Claim struct {
		base
		Owner   string
		Epoch   int
		Due     bool // the roll boots the VM afresh although nothing else differs (Record.Due)
		Started time.Time
		TTL     time.Duration
		Expires time.Time // TTL after the moment of planning; the engine sets it again right before the call
	}
	// Release clears the claim (owner and expiry), the roll's start and what it noted on its way. A failure stays: after
	// a roll back too, only a person clears it (Unblock). At is when the roll ended with its gate passed
	// (Record.Rolled); zero when nothing was rolled. The engine sets it again right before the call.
	Release struct {
		base
		At time.Time
	}
	// Shutdown asks the guest to shut down and powers off after Grace.
	Shutdown struct {
		base
		Grace time.Duration
	}
	// InsertISO sets the CD-ROM's backing and, of the record, Image, ImageID, Previous, PreviousISO, PreviousID, Token,
	// Key, Engine, EngineWas, Rolled and Spurned in one ReconfigVM_Task, and clears Due. The other fields of Record are
	// as they were when the step was planned.
	InsertISO struct {
		base
		ISO    string
		Record Record
	}
	// Resize sets CPUs and memory of a powered-off VM.
	Resize struct {
		base
		CPUs      int
		MemoryMiB int64
	}
	// PowerOn starts the VM.
	PowerOn struct{ base }
	// AwaitReady waits until the gate proves this incarnation, and then that it stays so for Settle.
	AwaitReady struct {
		base
		Token   string
		ImageID string
		Mounts  []GuestMount // data disks that must be mounted, by path and serial
		Timeout time.Duration
		Settle  time.Duration
	}
	// Fail records why a roll failed, so that every later run stops too, and frees the claim (owner and expiry).
	// The roll's start stays until Unblock.
	Fail struct {
		base
		Why string
	}
	// Unblock clears the claim (owner and expiry), the roll's start, its failure, what it spurned and the VM's pause. It
	// touches nothing but the record. Only Resume plans it: Compute never lets a fleet go again by itself.
	Unblock struct {
		base
		Started time.Time // instead of none: the VM goes on being made from then on
		Pause   bool      // clear nothing but claim and pause: a way back is under way, and ends first
	}

	// Drain writes Record.Drained and then moves the VM's work away through the fleet's drain hook: in this order, so that
	// whoever comes after a run that died in between restores it. It drains again before it takes the VM down. Next says
	// what becomes of the data disks: "keep", or "delete" when the VM goes for good. With Try a failure is reported and
	// the roll goes on, because the VM does not serve anyway.
	Drain struct {
		base
		Next string
		Try  bool
	}
	// Restore lets the VM take work again through the drain hook and then clears Record.Drained.
	Restore struct{ base }
	// GrowDisk makes an attached data disk of a powered-off VM larger. Its content, UUID and file stay.
	GrowDisk struct {
		base
		Disk  DiskRecord
		Bytes int64
	}
	// DetachDisk removes a data disk from a powered-off VM and keeps its file. Where the disk goes stands in a record
	// before (D5): in Record.Takes of the VM that replaces it, or that it was to replace, or, for a retired VM, in its
	// marker and its own record.
	DetachDisk struct {
		base
		Disk DiskRecord
	}
	// Disown takes out of the record of a VM the disks that are attached to the one which has taken them over, or back,
	// after that was seen.
	Disown struct {
		base
		Successor string // that VM's instance UUID; empty in a plan that makes the successor: the VM whose record replaces this one
	}
	// Recall writes into the record of a VM that was to be replaced that it is not: why its successor failed (Failed), with
	// which image (Spurned), and the data disks that it gets back from it (Takes), before they are detached there (D5).
	// The claim stays: the way back goes on under it.
	Recall struct {
		base
		Why     string
		Spurned string       // the successor's image
		Takes   []DiskRecord // empty when the successor has disks of its own
	}
	// Rename gives a VM its place's name under changeVersion and clears Record.Replaces.
	Rename struct {
		base
		To string
	}
	// Retire renames a powered-off VM, writes why into its annotation, disconnects its NICs, sets Record.Retired and
	// frees the claim, in one ReconfigVM_Task. Its disks stay as they are.
	Retire struct {
		base
		To  string // its name afterwards
		At  time.Time
		Why string
	}
	// DestroyVM destroys a retired VM that has no data disk: the executor reads its devices afresh and refuses with R19
	// when one is attached or lies in the VM's own folder (D2, L9).
	DestroyVM struct{ base }
	// Mark writes or clears Record.Ill and nothing else. It needs no claim: changeVersion guards it.
	Mark struct {
		base
		Ill time.Time
	}
	// Pause sets Record.Paused and nothing else, whoever holds the claim: changeVersion guards it. Only Halt plans it.
	Pause struct{ base }
	// Adopt writes owner key and record into a VM that is nobody's. Only TakeOver's function plans it.
	Adopt struct {
		base
		Fleet   string
		Ordinal int
		To      string // its name in the fleet
		Record  Record
	}
	// Forget removes everything lkv wrote from a VM and touches nothing else.
	Forget struct{ base }
)

// Of makes the embedded part of a step for the VM of that name.
func Of(name string) base { return base{name} }
