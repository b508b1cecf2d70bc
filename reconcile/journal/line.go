// Package journal is the record of one run: what it was about to send to vCenter, what became of it, and what the VMs
// looked like before and after. It is written so that somebody else can check the run afterwards, without vCenter and
// without trusting the program that made it: Verify knows the safety rules but nothing of how a run obeys them.
//
// A journal is a file of JSON lines. Each line carries its number and the SHA-256 of the line before it, so that a line
// that was cut out, edited or moved shows. That is no signature: whoever can write the file can write all of it anew.
//
// Not supported: appending to a journal of an earlier run, reading journals of newer formats, compression.
package journal

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lkv-io/lkv/internal/secret"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Format is the version of the lines.
const Format = 1

// Line is one line. Exactly one of the pointers is set.
type Line struct {
	N    int       `json:"n"`             // from 1
	Prev string    `json:"prev"`          // SHA-256 of the line before without its line feed, 64 zeros on the first line
	Time time.Time `json:"time,omitzero"` // UTC; none on the closing line, so that it cannot be edited unseen

	Head   *Head   `json:"head,omitempty"`
	Fleet  *Fleet  `json:"fleet,omitempty"`
	Look   *Look   `json:"look,omitempty"`
	Intent *Intent `json:"intent,omitempty"`
	Result *Result `json:"result,omitempty"`
	Close  *Close  `json:"close,omitempty"`
}

// Head is the first line: who runs.
type Head struct {
	Format  int    `json:"format"`
	Version string `json:"version"` // of lkv
	Command string `json:"command"` // "reconcile", or what else made it
	Run     string `json:"run"`     // a name for this run
}

// Fleet says that the run begins with a fleet, and what is wanted of it.
type Fleet struct {
	Name           string   `json:"name"`
	VCenter        string   `json:"vcenter"` // instance UUID
	Claimer        string   `json:"claimer"` // owner of this run's claims
	Desired        string   `json:"desired"` // SHA-256 of the desired state
	VMs            []string `json:"vms"`     // names of the wanted VMs
	MaxUnavailable int      `json:"max_unavailable"`
	Surge          int      `json:"surge"` // VMs that may exist beside the wanted ones
}

// Target is what a call is about, or what was looked at.
type Target struct {
	VCenter string `json:"vcenter,omitempty"`
	Kind    string `json:"kind"` // vSphere's type: "VirtualMachine", "Folder"
	Ref     string `json:"ref"`  // managed object reference
	Name    string `json:"name,omitempty"`
	ID      string `json:"id,omitempty"` // instance UUID
}

// Look is a VM as one read showed it. Reads that were sent before the last call on the VM had ended are left out.
type Look struct {
	VM            Target  `json:"vm"`
	Error         string  `json:"error,omitempty"`  // the read failed or was partial; the rest is empty
	During        int     `json:"during,omitempty"` // the line of a call that was not seen to end before this read
	ChangeVersion string  `json:"change_version,omitempty"`
	Power         string  `json:"power,omitempty"`
	ISO           string  `json:"iso,omitempty"`   // datastore path
	Fleet         string  `json:"fleet,omitempty"` // owner key's
	Record        *Record `json:"record,omitempty"`
	Guest         *Guest  `json:"guest,omitempty"`
	Disks         []Disk  `json:"disks"` // every virtual disk attached
}

// Disk is one attached virtual disk.
type Disk struct {
	UUID       string `json:"uuid"`
	Path       string `json:"path"`
	Bytes      int64  `json:"bytes"`
	Mode       string `json:"mode"`
	Controller string `json:"controller"` // vSphere's type: "ParaVirtualSCSIController"
	Parent     bool   `json:"parent,omitempty"`
	Shared     bool   `json:"shared,omitempty"`
}

// Record is lkv's record in a VM, as far as a check needs it. A record that cannot be read has only Error.
type Record struct {
	Image    string       `json:"image,omitempty"`
	ImageID  string       `json:"image_id,omitempty"`
	Token    string       `json:"token,omitempty"` // of an ISO swap; no secret
	Epoch    int          `json:"epoch,omitempty"`
	Owner    string       `json:"owner,omitempty"`
	Expires  time.Time    `json:"expires,omitzero"`
	Started  time.Time    `json:"started,omitzero"`
	Failed   string       `json:"failed,omitempty"`
	Paused   bool         `json:"paused,omitempty"`
	Ill      time.Time    `json:"ill,omitzero"`
	Replaces string       `json:"replaces,omitempty"` // instance UUID of the VM whose place this one takes
	Retired  time.Time    `json:"retired,omitzero"`
	Disks    []DiskRecord `json:"disks,omitempty"`
	Whole    string       `json:"whole,omitempty"` // SHA-256 of all of it but Paused and Ill: two that differ in nothing else differ here
	Error    string       `json:"error,omitempty"`
}

// DiskRecord names a data disk in a record.
type DiskRecord struct {
	Name string `json:"name"`
	UUID string `json:"uuid,omitempty"`
	Path string `json:"path"`
}

// RecordOf takes from a record what a journal keeps of it.
func RecordOf(r plan.Record) *Record {
	out := &Record{Image: r.Image, ImageID: r.ImageID, Token: r.Token, Epoch: r.Epoch, Owner: r.Owner,
		Expires: r.Expires, Started: r.Started, Failed: secret.Redact(r.Failed), Paused: r.Paused, Ill: r.Ill,
		Replaces: r.Replaces, Retired: r.Retired}
	for _, d := range r.Disks {
		out.Disks = append(out.Disks, DiskRecord{Name: d.Name, UUID: d.UUID, Path: d.Path})
	}
	r.Paused, r.Ill = false, time.Time{}         // so that it shows when nothing else was changed
	if raw, err := json.Marshal(r); err == nil { // it holds no value that could not be written
		out.Whole = fmt.Sprintf("%x", sha256.Sum256(raw))
	}
	return out
}

// Guest is what the guest says of itself.
type Guest struct {
	Token   string   `json:"token,omitempty"`
	ImageID string   `json:"image_id,omitempty"`
	State   string   `json:"state,omitempty"`
	Mounts  []string `json:"mounts,omitempty"` // serial numbers of mounted data disks
}

// Intent is a call that is about to be sent.
type Intent struct {
	Method        string   `json:"method"` // SOAP or HTTP
	Target        Target   `json:"target"`
	Name          string   `json:"name,omitempty"` // of what the call makes or renames
	ChangeVersion string   `json:"change_version,omitempty"`
	Fields        []string `json:"fields,omitempty"` // of the VM's specification that are set
	Devices       []Device `json:"devices,omitempty"`
	Extra         []Key    `json:"extra,omitempty"`  // keys of extraConfig that are written
	Record        *Record  `json:"record,omitempty"` // lkv's record as it is written
	Paths         []string `json:"paths,omitempty"`  // datastore paths
	Bytes         int64    `json:"bytes,omitempty"`  // capacity of a disk file that is made or grown
}

// Device is one change of a device.
type Device struct {
	Operation     string `json:"operation"`
	FileOperation string `json:"file_operation,omitempty"`
	Kind          string `json:"kind"` // vSphere's type: "VirtualDisk"
	Key           int32  `json:"key"`
	UUID          string `json:"uuid,omitempty"`
	Path          string `json:"path,omitempty"` // the backing's file
	Mode          string `json:"mode,omitempty"`
	Parent        bool   `json:"parent,omitempty"`
	Bytes         int64  `json:"bytes,omitempty"`
	Connected     *bool  `json:"connected,omitempty"`
}

// Key is one key of extraConfig. The value is kept of lkv's own keys only.
type Key struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// What became of a call.
const (
	Running = "running" // vCenter has made a task of it
	Success = "success"
	Failed  = "error"
	Unknown = "unknown" // no answer: it may have happened or not
)

// Result is what became of a call. A call that vCenter makes a task of has two: Running, and how the task ended.
type Result struct {
	Call  int    `json:"call"` // line of the intent
	State string `json:"state"`
	Task  string `json:"task,omitempty"`
	Fault string `json:"fault,omitempty"` // its type
}

// Close is the last line of a run that ended by itself. A journal without it was cut, or its run was killed.
type Close struct {
	Calls int `json:"calls"` // intents
}
