package main

import (
	"fmt"
	"strings"

	"github.com/lkv-io/lkv/reconcile/plan"
)

//go:generate go run . docs --refusals --out ../../docs/refusals.md

// refusalText is what the reference says of one code.
type refusalText struct {
	code    plan.Code
	meaning string
	when    string
	clear   string // the usual ways; the refusal itself names the one that fits
	exit    string // "": 3
	swarm   bool   // comes with Swarm: nothing in this version says it
}

// refusals are all codes, in order.
var refusals = []refusalText{ //nolint:gochecknoglobals // a table that nobody writes to
	{code: plan.R01, meaning: "the ISO is missing on a store, or it is another one",
		when:  "The channel was never pushed, differs between stores, or names an ISO that is not complete on a store that a VM boots from; a registry's signature is missing or wrong; a file vanished before a swap or a power on.",
		clear: "`lkv push`, as the refusal says it, for its image, channel or store. `lkv status` shows the VMs meanwhile. Sign the image, or correct `cosign_keys`."},
	{code: plan.R02, meaning: "the image would not boot on the VM, or not mount its data disk",
		when:  "The manifest is missing or describes another ISO; firmware, Secure Boot key, memory, label, disk UUID or file system do not fit; a disk has a `mount` that the image does not serve; the VM has no CD-ROM drive.",
		clear: "Write what the refusal says into the image (`persist`, `boot`) or the fleet (`memory`); `lkv build`, `lkv push`, reconcile again. Nothing was shut down."},
	{code: plan.R03, meaning: "the image formats a disk by force",
		when:  "The LinuxKit YAML has a `format` with `-force`: whatever is on the disk would be lost at the next boot.",
		clear: "Remove `-force`, `lkv build`, `lkv push`."},
	{code: plan.R04, meaning: "the Docker Engine would go backwards",
		when:  "The image has an older engine than one that has used the VM's disks: it may not read what the newer one wrote. Not known on either side is no refusal.",
		clear: "Build the image with the newer engine, or a newer one."},
	{code: plan.R05, meaning: "a disk has a snapshot or parent, is not persistent, or is shared",
		when:  "A backup is under way or left its snapshot; somebody changed the disk's mode, or made it multi-writer.",
		clear: "Let the backup end, or remove the snapshots in the vSphere client; set the mode back to persistent."},
	{code: plan.R06, meaning: "a recorded data disk is not attached or not to be found, or another one is",
		when: "Somebody detached, moved, copied, renamed or added a disk; the fleet wants a disk smaller than it is, or one that a VM was made without; or a disk that was made once has no file where it was. " +
			"That it was made, a folder beside its place says: `[datastore] lkv-disks/<fleet>/<vm>-<disk>.made`. The folder outlives VM, record and file, and a disk with one is never made a second time. Only `lkv disks delete` removes it, with the disk that you name, on that disk's datastore.",
		clear: "The refusal says where the disk is now. While its file is where the record says, shut the VM down and `lkv disks attach --vm VM --disk NAME`; a file that was moved is attached in the vSphere client from where it is, and is followed. Where the VM is gone, too, put the file back under its name: the VM is made around it. `lkv disks list` shows what there is. " +
			"Only when the data is given up for good: `lkv disks delete --path PATH` while the file is there; when it is gone, remove that `.made` folder in the vSphere client, on every datastore that has it. Then an empty disk is made."},
	{code: plan.R07, meaning: "two VMs have one disk",
		when:  "A VM or a disk file was copied, so that two have one UUID; somebody attached the disk to another VM, or another VM has its file locked.",
		clear: "In the vSphere client remove the disk from every VM but its own, keeping its file."},
	{code: plan.R08, meaning: "the VM is busy",
		when:  "A question is pending, a task of somebody else is running, it is a template, suspended, inaccessible, or its record cannot be read; a retired VM is on.",
		clear: "Answer the question, wait for the task, resume it, make the template a VM again, bring its host or storage back."},
	{code: plan.R09, meaning: "which Swarm node a VM is cannot be told", swarm: true},
	{code: plan.R10, meaning: "the Swarm managers would lose their quorum", swarm: true},
	{code: plan.R11, meaning: "the Swarm is locked and there is no source for its key", swarm: true},
	{code: plan.R12, meaning: "the fleet stands still: a roll failed, or too few VMs serve",
		when: "A gate did not hold, or a roll took longer than `progress_deadline`, on `max_failed` VMs; more VMs do not serve than `max_unavailable` allows; more than a fifth of the fleet was lost at once; an image that was rolled back is wanted again. " +
			"The run in which a roll fails ends with exit code 1, every later one with 3.",
		clear: "Look at the VM that the refusal names. Then `lkv resume`, or push an image that works and `lkv resume`; when many VMs were lost and the cause is gone, `lkv reconcile --ignore-brake`."},
	{code: plan.R13, meaning: "the fleet is paused, or outside of its window",
		when:  "`lkv pause`, `suspend = true`, or the window of `rollout` is not open. What a run has begun is finished all the same.",
		clear: "`lkv resume`; remove `suspend`; wait: the refusal says when the window opens.",
		exit:  "2, when it is the only code"},
	{code: plan.R14, meaning: "the fleet would lose more VMs than allowed, or all",
		when:  "The spec wants no VM at all, or fewer than there are and more would go at once than `scale_in` allows; a file, variable or glob came out empty.",
		clear: "Correct the spec; if so many are meant to go, raise `scale_in` for this change, or lower `size` in steps; `lkv reconcile --target VM` lets only that one go, `lkv forget` none."},
	{code: plan.R15, meaning: "a read failed or is partial",
		when:  "A vCenter did not answer, took no login, or answered not in full; a datastore that a disk may lie on is not accessible; a VM shows no configuration. Not found is then not gone, so nothing is concluded. Fleets that do not need what is away go on.",
		clear: "Bring back what the refusal names, or remove it from the inventory when it is gone for good; then run again."},
	{code: plan.R16, meaning: "another run holds the VM or this spec",
		when:  "Another run has a claim on the VM that has not expired, or is at work with the same spec and cache on this machine. The refusal says who, since when, and until when.",
		clear: "Wait until it is done. A claim of a run that died ends by itself after `claim_ttl` and the grace that a shutdown gets."},
	{code: plan.R17, meaning: "a saved plan is stale",
		when:  "Spec, channel or fleet are not as they were when `lkv plan --out` wrote the plan, or something else would have to be done.",
		clear: "`lkv plan --out` again, look at it, and use that one."},
	{code: plan.R18, meaning: "a drain would stop the last task of a service", swarm: true},
	{code: plan.R19, meaning: "destroying a VM, or deleting a disk, would take a data disk that is in use",
		when:  "`lkv gc` finds a disk on a retired VM that it does not know, or one in the VM's own folder, which vSphere deletes with the VM; `lkv disks delete` names a disk that a VM has, attached or in its record.",
		clear: "Remove the disk from the VM, keeping its file; move the file out of the folder with a storage migration. `lkv disks delete` is for orphans only."},
	{code: plan.R20, meaning: "a privilege is missing",
		when:  "vCenter refuses a call of this user, or does not show it what it needs to see. The text names the privilege where vCenter does; what is hidden altogether is an error that says R20, with exit code 1.",
		clear: "Give the user's role the privilege on the object that is named, or further up and propagated."},
	{code: plan.R21, meaning: "the datastore is too full",
		when:  "A disk is to be made or grown, or a VM to be started, and its datastore has not the room. A thin disk needs 1 GiB of its size at once.",
		clear: "Make room, or name another datastore for new disks."},
	{code: plan.R22, meaning: "a name or a place in the fleet is taken",
		when:  "A VM that is not the fleet's has a wanted name; two VMs have one name or one place, be it in one vCenter or in two; a VM of the fleet was renamed.",
		clear: "Rename or `lkv forget` the VM that does not belong there, or give the fleet another name pattern."},
}

const refusalsHead = `# Refusals

Generated by ` + "`go generate ./cmd/lkv`" + `; a test fails when it is stale.

What cannot be proved to be safe is not done. A refusal says so, with a code that stays the same for ever, a reason, and what clears it. A refusal for one VM stops that VM; one without a VM stops the fleet. What was begun is finished where that is safe. Nothing has to be undone after a refusal: clear the cause and run ` + "`lkv reconcile`" + ` again.

A refused command ends with exit code 3, unless something else is said here. ` + "`--json`" + ` has the code in ` + "`code`" + ` and the remedy in ` + "`clear`" + `; the daemon shows it in ` + "`/readyz`" + `, metrics and webhook.

| code | means |
|---|---|
`

// refusalReference renders every code as Markdown.
func refusalReference() string {
	var b strings.Builder
	b.WriteString(refusalsHead)
	for _, r := range refusals {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", r.code, strings.ToLower(string(r.code)), r.meaning)
	}
	for _, r := range refusals {
		fmt.Fprintf(&b, "\n## %s\n%s.\n\n", r.code, strings.ToUpper(r.meaning[:1])+r.meaning[1:])
		if r.swarm {
			b.WriteString("Comes with Swarm: this version never says it.\n")
			continue
		}
		exit := r.exit
		if exit == "" {
			exit = "3"
		}
		fmt.Fprintf(&b, "- **When:** %s\n- **Cleared by:** %s\n- **Exit code:** %s.\n", r.when, r.clear, exit)
	}
	return b.String()
}
