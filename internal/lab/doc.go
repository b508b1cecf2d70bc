// Package lab is a vCenter on this machine: govmomi's simulator, made as strict as a vCenter, whose virtual machines
// are real QEMU machines or "paper" machines that only keep state.
//
// Every request passes through a gate in front of the simulator. The gate keeps a journal of mutating calls, injects
// the faults a test asks for, refuses what a vCenter refuses and the simulator does not (stale changeVersion, a disk on
// two running VMs, files in use, unknown datastores), runs the call, and repairs what the simulator leaves out (the size
// of disk files, disk UUIDs that travel with the file, changeVersion after power operations). Calls that change files,
// disks or configurations run one at a time; power operations wait for no boot.
//
// Not supported: REST (tags, content libraries), suspend, vMotion, HA, DRS, first-class disks, guest operations and delta
// disks of snapshots. Every running guest has locked its CD-ROM drive, so that changing the ISO under it raises the
// question that a vCenter asks then.
package lab
