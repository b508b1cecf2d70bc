package plan

import (
	"fmt"
	"strings"
)

// The sentences below are printed in plans, in events and in golden logs. They leave out the VM's name: a step is
// always shown under its VM.

// String says what is waited for.
func (s AwaitTask) String() string { return "wait for task " + s.Task }

// String names the file and its size.
func (s CreateDisk) String() string {
	kind := "thick"
	if s.Disk.Thin {
		kind = "thin"
	}
	return fmt.Sprintf("create disk %s, %s %s", s.Path, sizeText(s.Disk.Bytes), kind)
}

// String names the VM's size, its ISO, and the disks written into its record, those it will take over too.
func (s CreateVM) String() string {
	secure := ""
	if s.Want.SecureBoot {
		secure = "Secure Boot, "
	}
	takes := ""
	if len(s.Record.Takes) > 0 {
		takes = ", to take over " + diskNames(s.Record.Takes)
	}
	return fmt.Sprintf("create VM with %d CPUs, %d MiB, %s%s, claim epoch %d, record of %s%s",
		s.Want.CPUs, s.Want.MemoryMiB, secure, s.ISO, s.Record.Epoch, diskNames(s.Record.Disks), takes)
}

// String names the disk's file.
func (s AttachDisk) String() string { return "attach disk " + s.Disk.Path }

// String names the certificate.
func (s InstallKey) String() string {
	return "install Secure Boot key " + short(KeyOf(s.Certificate))
}

// String names owner and epoch.
func (s Claim) String() string { return fmt.Sprintf("claim for %s, epoch %d", s.Owner, s.Epoch) }

// String says "release".
func (s Release) String() string { return "release" }

// String names the grace.
func (s Shutdown) String() string {
	return fmt.Sprintf("shut down, power off after %s", s.Grace)
}

// String names the ISO and the token the guest must echo.
func (s InsertISO) String() string {
	return fmt.Sprintf("insert %s, token %s", s.ISO, s.Record.Token)
}

// String names the new size.
func (s Resize) String() string {
	return fmt.Sprintf("resize to %d CPUs, %d MiB", s.CPUs, s.MemoryMiB)
}

// String says "turn on Secure Boot".
func (s EnableSecureBoot) String() string { return "turn on Secure Boot" }

// String says "power on".
func (s PowerOn) String() string { return "power on" }

// String names what the gate asks for.
func (s AwaitReady) String() string {
	paths := make([]string, len(s.Mounts))
	for i, m := range s.Mounts {
		paths[i] = m.Path
	}
	if s.Token == "" {
		return fmt.Sprintf("wait until ready, for %s, at most %s", s.Settle, s.Timeout)
	}
	mounted := ""
	if len(paths) > 0 {
		mounted = ", mounted " + strings.Join(paths, " ")
	}
	return fmt.Sprintf("wait until ready with token %s%s, for %s, at most %s", s.Token, mounted, s.Settle, s.Timeout)
}

// String names the reason.
func (s Fail) String() string { return "record failure: " + s.Why }

// String says what is cleared.
func (s Unblock) String() string {
	switch {
	case s.Pause:
		return "clear pause"
	case !s.Started.IsZero():
		return "clear failure and pause, it goes on being made"
	}
	return "clear failure and pause"
}

// String says what becomes of the disks.
func (s Drain) String() string { return "drain, disks: " + s.Next }

// String says "restore".
func (s Restore) String() string { return "let it take work again" }

// String names the disk and its new size.
func (s GrowDisk) String() string {
	return fmt.Sprintf("grow disk %s to %s", s.Disk.Path, sizeText(s.Bytes))
}

// String names the disk's file.
func (s DetachDisk) String() string { return "detach disk, keep " + s.Disk.Path }

// String says what the record loses.
func (s Disown) String() string { return "take the handed-over disks out of its record" }

// String names the reason and the disks.
func (s Recall) String() string {
	if len(s.Takes) == 0 {
		return "record that its replacement failed: " + s.Why
	}
	return fmt.Sprintf("record that its replacement failed: %s, to take back %s", s.Why, diskNames(s.Takes))
}

// String names the new name.
func (s Rename) String() string { return "rename to " + s.To }

// String names the new name.
func (s Retire) String() string { return "retire as " + s.To + ", disks kept" }

// String says "destroy the VM".
func (s DestroyVM) String() string { return "destroy the VM, which has no data disk" }

// String says since when.
func (s Mark) String() string {
	if s.Ill.IsZero() {
		return "note that it serves again"
	}
	return "note that it does not serve"
}

// String says "pause".
func (s Pause) String() string { return "pause" }

// String names fleet and ordinal.
func (s Adopt) String() string {
	return fmt.Sprintf("adopt into fleet %s as %s, ordinal %d, record of %s", s.Fleet, s.To, s.Ordinal, diskNames(s.Record.Disks))
}

// String says what is removed.
func (s Forget) String() string { return "forget: remove owner key and record" }

func diskNames(list []DiskRecord) string {
	if len(list) == 0 {
		return "no disks"
	}
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.Name
	}
	return strings.Join(names, " ")
}

func sizeText(bytes int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes != 0 && bytes%u.size == 0 {
			return fmt.Sprintf("%d %s", bytes/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", bytes)
}
