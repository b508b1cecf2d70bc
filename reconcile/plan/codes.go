package plan

import "fmt"

// Refusal codes. They are stable: documentation, scripts and people refer to them.
const (
	R01 Code = "R01" // ISO missing on the store or digest differs
	R02 Code = "R02" // manifest missing, or the image would not boot here or not mount the disk
	R03 Code = "R03" // image force-formats
	R04 Code = "R04" // engine would go backwards
	R05 Code = "R05" // disk has snapshot or parent, is non-persistent or multi-writer
	R06 Code = "R06" // recorded disk not attached, or another one is
	R07 Code = "R07" // one UUID on two VMs
	R08 Code = "R08" // VM busy: question pending, running task, template, suspended, inaccessible
	R09 Code = "R09" // VM-to-node mapping ambiguous
	R10 Code = "R10" // manager quorum
	R11 Code = "R11" // swarm autolock without key source
	R12 Code = "R12" // brake: too many failed or too few ready
	R13 Code = "R13" // outside window, or paused
	R14 Code = "R14" // desired set empty or shrinking more than allowed
	R15 Code = "R15" // read failed or partial
	R16 Code = "R16" // another live claim
	R17 Code = "R17" // saved plan is stale
	R18 Code = "R18" // drain would stop the last task of a service
	R19 Code = "R19" // destroy asked while a data disk is attached
	R20 Code = "R20" // privilege missing
	R21 Code = "R21" // datastore too full
	R22 Code = "R22" // duplicate name: a VM that is not ours has a wanted name or place in the fleet
)

// Error returns the refusal as one sentence, so that an executor can return a Blocked where it refuses on its own
// fresh read. Match it with errors.As.
func (b Blocked) Error() string {
	who := b.VM
	if who == "" {
		who = "fleet"
	}
	if b.Clear == "" {
		return fmt.Sprintf("%s: refused %s: %s", who, b.Code, b.Reason)
	}
	return fmt.Sprintf("%s: refused %s: %s; to clear: %s", who, b.Code, b.Reason, b.Clear)
}
