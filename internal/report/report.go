// Package report is what a booted guest says about itself, and the names under which host and guest exchange it.
//
// The guest writes Report as JSON to Path and publishes it as the guestinfo variable Key. On VMware that goes
// through open-vm-tools; in the lab the QEMU guest agent reads the file and the lab publishes the variable.
// In the other direction the host sets guestinfo variables while the VM is off; the guest reads them once, at
// boot: on VMware through the RPC back door, in QEMU from fw_cfg files named FwCfgPrefix + variable.
package report

// Names of the exchange.
const (
	Path        = "/run/lkv/report.json"
	Key         = "guestinfo.lkv.report"
	TokenKey    = "guestinfo.lkv.token"    // set with every ISO swap; echoed in Report.Token, so it proves a new boot
	HostnameKey = "guestinfo.lkv.hostname" // the guest's host name
	ProveKey    = "guestinfo.lkv.prove"    // nonce that a persist step leaves on its disk, see ProveFile; set by lkv prove only
	FwCfgPrefix = "opt/lkv/"               // fw_cfg file of guestinfo variable X is FwCfgPrefix + X
	ImagePath   = "/etc/lkv/image.json"    // Image, written by lkv build into the last segment of the initrd
	MarkerPath  = "/.lkv/complete"         // last entry of the initrd: absent when memory ran out while it was unpacked
	DisksDir    = "/run/lkv/disks"         // one <name>.json (Disk) per persist step
	ProveFile   = ".lkv-prove"             // at the top of a data disk: the nonce of ProveKey
)

// Format is the version of Report's JSON.
const Format = 1

// States of a guest.
const (
	Booting  = "booting"
	Running  = "running"  // onboot done, services started
	Failed   = "failed"   // a required step failed; no service was started
	Stopping = "stopping" // shutting down
)

// Required is the OCI annotation that marks an onboot entry whose failure stops the boot before services.
// Grace is the annotation with the seconds a service gets between SIGTERM and SIGKILL (default 10).
// Always is the annotation of a service that starts even after a stopped boot: an agent that only reports.
const (
	Required = "lkv.required"
	Grace    = "lkv.grace"
	Always   = "lkv.always"
)

// Image names the running image.
type Image struct {
	Name string `json:"name"`
	ID   string `json:"id"` // "sha256:…", equal to the manifest's id
}

// Report is one guest's state.
type Report struct {
	Format   int       `json:"format"`
	Image    Image     `json:"image"`
	BootID   string    `json:"boot_id"` // /proc/sys/kernel/random/boot_id
	Token    string    `json:"token"`   // TokenKey as read at this boot; empty when not set
	Hostname string    `json:"hostname"`
	State    string    `json:"state"`
	Error    string    `json:"error,omitempty"` // one sentence, when State is Failed
	Disks    []Disk    `json:"disks"`
	Services []Service `json:"services"`
}

// Disk is one data disk as the persist step mounted it (or failed to).
type Disk struct {
	Mount      string `json:"mount"`
	Device     string `json:"device"` // for example "/dev/sda1"
	Serial     string `json:"serial"` // the disk's SCSI serial: the vSphere disk UUID without dashes, lower case
	Label      string `json:"label"`
	UUID       string `json:"uuid"` // file system UUID
	Filesystem string `json:"filesystem"`
	Size       int64  `json:"size"`      // of the file system, bytes
	Formatted  bool   `json:"formatted"` // by this boot
	Mounted    bool   `json:"mounted"`
	Error      string `json:"error,omitempty"`
}

// Service is one supervised service.
type Service struct {
	Name     string `json:"name"`
	State    string `json:"state"` // "running", "backoff", "stopped"
	Restarts int    `json:"restarts"`
}
