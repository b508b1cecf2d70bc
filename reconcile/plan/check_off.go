package plan

import (
	"fmt"
	"slices"
)

// needsOff is the rule of every step that must not happen to a running VM.
func needsOff(v VM) error {
	if v.Power != Off {
		return fmt.Errorf("the VM is %s", v.Power)
	}
	return nil
}

// insert holds the swap to its fields: the disks in the record and the epoch stay (D5, A6).
func insert(v VM, s InsertISO) error {
	if err := needsOff(v); err != nil {
		return err
	}
	switch {
	case s.ISO == "" || s.Record.Image == "" || s.Record.Token == "":
		return fmt.Errorf("no ISO, image or token (D6)")
	case !slices.Equal(s.Record.Disks, v.Record.Disks):
		return fmt.Errorf("it would change the disks in the record (D5)")
	case s.Record.Epoch != v.Record.Epoch || s.Record.Owner != v.Record.Owner:
		return fmt.Errorf("it would change the claim (A6)")
	}
	return nil
}

// installKey allows a key only for firmware that has not started yet: afterwards nobody reads it, and the VM would
// look like one that knows it.
func installKey(v VM, s InstallKey) error {
	if err := needsOff(v); err != nil {
		return err
	}
	switch {
	case len(s.Certificate) == 0:
		return fmt.Errorf("no certificate")
	case len(v.Keys) > 0 || v.Record.Previous != "" || v.Record.PreviousISO != "" || v.Record.Started.IsZero():
		return fmt.Errorf("the VM is not being made: its firmware has its keys already")
	}
	return nil
}

// powerOn asks for every recorded disk and an ISO the record knows and the firmware starts (D6).
func powerOn(v VM) error {
	if err := needsOff(v); err != nil {
		return err
	}
	if v.ISO == "" || v.Record.Image == "" {
		return fmt.Errorf("no ISO in the CD-ROM or none in the record (D6)")
	}
	if v.SecureBoot && v.Record.Key != "" && !slices.Contains(v.Keys, v.Record.Key) {
		return fmt.Errorf("the firmware has Secure Boot on and does not know key %s of the ISO (D6)", short(v.Record.Key))
	}
	for _, r := range v.Record.Disks {
		if attached(v, r) == nil {
			return fmt.Errorf("recorded disk %s is not attached (D6)", r.Name)
		}
	}
	if len(v.Disks) != len(v.Record.Disks) {
		return fmt.Errorf("%d disks are attached, %d recorded (D6)", len(v.Disks), len(v.Record.Disks))
	}
	return nil
}
