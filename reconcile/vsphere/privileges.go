package vsphere

import "slices"

// Kind is a kind of object that a privilege is asked for.
type Kind int

// Kinds. Privileges on a VM that is not there yet are asked for its folder.
const (
	OnDatacenter Kind = iota
	OnFolder
	OnPool
	OnDatastore
	OnNetwork
	OnVM
)

// Phases of a fleet's life that need privileges.
const (
	PhaseLook    = "look"      // plan, status, every read
	PhaseStore   = "store"     // ISOs and data disk files
	PhaseCreate  = "create"    // new VMs and their disks
	PhaseRoll    = "roll"      // another ISO or size, power, claims
	PhaseGrow    = "grow"      // larger disks
	PhaseRetire  = "retire"    // VMs that are replaced or not wanted any more
	PhaseHand    = "hand-over" // a disk that moves to another VM
	PhaseDestroy = "destroy"   // lkv gc of retired VMs; nothing else
)

// Privilege is one privilege with what it is for.
type Privilege struct {
	ID    string
	Phase string
	On    Kind
}

// Privileges returns what lkv needs. A role without those of PhaseDestroy cannot destroy a VM, and so no disk with one:
// retired VMs then stay until somebody else removes them. That role suffices for everything but lkv gc.
func Privileges() []Privilege { return slices.Clone(privileges) }

var privileges = []Privilege{
	{"System.Read", PhaseLook, OnDatacenter},
	{"System.Read", PhaseLook, OnDatastore},
	{"System.Read", PhaseLook, OnVM},
	{"Datastore.Browse", PhaseLook, OnDatastore},
	{"Datastore.Browse", PhaseStore, OnDatacenter}, // access over HTTP is checked there
	{"Datastore.FileManagement", PhaseStore, OnDatacenter},
	{"Datastore.FileManagement", PhaseStore, OnDatastore},
	{"Datastore.AllocateSpace", PhaseStore, OnDatastore},
	{"Folder.Create", PhaseCreate, OnFolder},
	{"VirtualMachine.Inventory.Create", PhaseCreate, OnFolder},
	{"VirtualMachine.Config.AddNewDisk", PhaseCreate, OnFolder},
	{"VirtualMachine.Config.AddExistingDisk", PhaseCreate, OnVM},
	{"VirtualMachine.Config.AddRemoveDevice", PhaseCreate, OnVM},
	{"VirtualMachine.Config.Settings", PhaseCreate, OnVM},
	{"Resource.AssignVMToPool", PhaseCreate, OnPool},
	{"Network.Assign", PhaseCreate, OnNetwork},
	{"VirtualMachine.Config.AdvancedConfig", PhaseRoll, OnVM},
	{"VirtualMachine.Config.EditDevice", PhaseRoll, OnVM},
	{"VirtualMachine.Config.CPUCount", PhaseRoll, OnVM},
	{"VirtualMachine.Config.Memory", PhaseRoll, OnVM},
	{"VirtualMachine.Interact.PowerOn", PhaseRoll, OnVM},
	{"VirtualMachine.Interact.PowerOff", PhaseRoll, OnVM},
	{"VirtualMachine.Interact.SetCDMedia", PhaseRoll, OnVM},
	{"VirtualMachine.Interact.DeviceConnection", PhaseRoll, OnVM},
	{"VirtualMachine.Config.DiskExtend", PhaseGrow, OnVM},
	{"VirtualMachine.Config.Rename", PhaseRetire, OnVM},
	{"VirtualMachine.Config.Annotation", PhaseRetire, OnVM},
	{"VirtualMachine.Config.RemoveDisk", PhaseHand, OnVM},
	{"VirtualMachine.Inventory.Delete", PhaseDestroy, OnVM},
	{"VirtualMachine.Inventory.Delete", PhaseDestroy, OnFolder},
}
