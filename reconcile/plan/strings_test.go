package plan

import (
	"testing"
	"time"
)

// TestStepSentences: every step in the words that plans, events and logs show, with what an operator needs to know of it.
func TestStepSentences(t *testing.T) {
	n := Of("wrk-01")
	docker := DiskRecord{Name: "docker", UUID: uuidOf(1, 0), Path: "[ssd-1] lkv-disks/workers/wrk-01-docker.vmdk"}
	logs := DiskRecord{Name: "logs", Path: "[ssd-1] lkv-disks/workers/wrk-01-logs.vmdk"}
	w := WantVM{CPUs: 4, MemoryMiB: 8192}
	locked := w
	locked.SecureBoot = true
	for _, c := range []struct {
		step Step
		want string
	}{
		{AwaitTask{n, "task-42"}, "wait for task task-42"},
		{CreateDisk{base: n, Disk: WantDisk{Bytes: 100 << 30, Thin: true}, Path: docker.Path}, "create disk " + docker.Path + ", 100 GiB thin"},
		{CreateDisk{base: n, Disk: WantDisk{Bytes: 1 << 40}, Path: docker.Path}, "create disk " + docker.Path + ", 1 TiB thick"},
		{CreateVM{base: n, Want: w, ISO: newISO, Record: Record{Epoch: 1}}, "create VM with 4 CPUs, 8192 MiB, " + newISO + ", claim epoch 1, record of no disks"},
		{CreateVM{base: n, Want: locked, ISO: newISO, Record: Record{Epoch: 2, Disks: []DiskRecord{docker, logs}}},
			"create VM with 4 CPUs, 8192 MiB, Secure Boot, " + newISO + ", claim epoch 2, record of docker logs"},
		{CreateVM{base: n, Want: w, ISO: newISO, Record: Record{Epoch: 1, Takes: []DiskRecord{docker}}},
			"create VM with 4 CPUs, 8192 MiB, " + newISO + ", claim epoch 1, record of no disks, to take over docker"},
		{AttachDisk{n, docker}, "attach disk " + docker.Path},
		{InstallKey{n, certificate}, "install Secure Boot key " + KeyOf(certificate)[:12]},
		{EnableSecureBoot{n}, "turn on Secure Boot"},
		{Claim{base: n, Owner: me, Epoch: 7}, "claim for lkv@here, epoch 7"},
		{Release{base: n, At: t0}, "release"},
		{Shutdown{n, 90 * time.Second}, "shut down, power off after 1m30s"},
		{InsertISO{base: n, ISO: newISO, Record: Record{Token: "bbbbbbbbbbbb-7"}}, "insert " + newISO + ", token bbbbbbbbbbbb-7"},
		{Resize{n, 8, 1024}, "resize to 8 CPUs, 1024 MiB"},
		{PowerOn{n}, "power on"},
		{AwaitReady{base: n, Token: "x-1", Settle: 30 * time.Second, Timeout: 10 * time.Minute}, "wait until ready with token x-1, for 30s, at most 10m0s"},
		{AwaitReady{base: n, Token: "x-1", Settle: 30 * time.Second, Timeout: 10 * time.Minute, Mounts: []GuestMount{{Path: "/a"}, {Path: "/b"}}},
			"wait until ready with token x-1, mounted /a /b, for 30s, at most 10m0s"},
		{AwaitReady{base: n, Settle: 30 * time.Second, Timeout: 10 * time.Minute, Mounts: []GuestMount{{Path: "/a"}}}, "wait until ready, for 30s, at most 10m0s"},
		{Fail{n, "not ready"}, "record failure: not ready"},
		{Unblock{base: n}, "clear failure and pause"},
		{Unblock{base: n, Started: t0}, "clear failure and pause, it goes on being made"},
		{Unblock{base: n, Pause: true}, "clear pause"},
		{Unblock{base: n, Pause: true, Started: t0}, "clear pause"},
		{Drain{base: n, Next: "keep"}, "drain, disks: keep"},
		{Drain{base: n, Next: "delete", Try: true}, "drain, disks: delete"},
		{Restore{n}, "let it take work again"},
		{GrowDisk{n, docker, 20 << 30}, "grow disk " + docker.Path + " to 20 GiB"},
		{DetachDisk{n, docker}, "detach disk, keep " + docker.Path},
		{Disown{n, "id"}, "take the handed-over disks out of its record"},
		{Recall{base: n, Why: "not ready"}, "record that its replacement failed: not ready"},
		{Recall{base: n, Why: "not ready", Takes: []DiskRecord{docker, logs}}, "record that its replacement failed: not ready, to take back docker logs"},
		{Rename{n, "wrk-02"}, "rename to wrk-02"},
		{Retire{base: n, To: "wrk-01-retired-x"}, "retire as wrk-01-retired-x, disks kept"},
		{DestroyVM{n}, "destroy the VM, which has no data disk"},
		{Mark{n, t0}, "note that it does not serve"},
		{Mark{base: n}, "note that it serves again"},
		{Pause{n}, "pause"},
		{Adopt{base: n, Fleet: "workers", To: "wrk-09", Ordinal: 9, Record: Record{Disks: []DiskRecord{docker}}}, "adopt into fleet workers as wrk-09, ordinal 9, record of docker"},
		{Forget{n}, "forget: remove owner key and record"},
	} {
		if got := c.step.String(); got != c.want || c.step.VM() != "wrk-01" {
			t.Errorf("%T says %q, want %q", c.step, got, c.want)
		}
	}
}

// TestSizesAreExact: a size is said in the largest unit that says it without a fraction.
func TestSizesAreExact(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 bytes", 1: "1 bytes", 1023: "1023 bytes", 1 << 10: "1 KiB", 1<<10 + 1: "1025 bytes", 1 << 20: "1 MiB", 3 << 19: "1536 KiB",
		1 << 30: "1 GiB", 1023 << 30: "1023 GiB", 1 << 40: "1 TiB", 1025 << 30: "1025 GiB", 1 << 50: "1024 TiB",
	} {
		if got := sizeText(bytes); got != want {
			t.Errorf("%d is %q, want %q", bytes, got, want)
		}
	}
}

// TestDifferencesAreSaid: every way in which a VM is not as wanted stands in the reason of its roll, in one order, and
// what only looks different is no reason.
func TestDifferencesAreSaid(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		want  string
	}{
		"nothing":                   {func(*Desired, *VM) {}, ""},
		"image":                     {func(_ *Desired, v *VM) { outdate(v) }, "image aaaaaaaaaaaa → bbbbbbbbbbbb"},
		"never any image":           {func(_ *Desired, v *VM) { v.Record.Image = "" }, "image none → bbbbbbbbbbbb"},
		"CD-ROM":                    {func(_ *Desired, v *VM) { v.ISO = "[iso] x.iso" }, "CD-ROM holds [iso] x.iso, not " + newISO},
		"empty CD-ROM":              {func(_ *Desired, v *VM) { v.ISO = "" }, "CD-ROM holds none, not " + newISO},
		"image and CD-ROM are one":  {func(_ *Desired, v *VM) { outdate(v); v.ISO = "" }, "image aaaaaaaaaaaa → bbbbbbbbbbbb"},
		"the store has no ISO":      {func(d *Desired, _ *VM) { d.Image.Paths = nil }, ""},
		"CPUs":                      {func(_ *Desired, v *VM) { v.CPUs = 1 }, "1 CPUs, 2048 MiB → 2 CPUs, 2048 MiB"},
		"memory":                    {func(_ *Desired, v *VM) { v.MemoryMiB = 1024 }, "2 CPUs, 1024 MiB → 2 CPUs, 2048 MiB"},
		"more memory than wanted":   {func(_ *Desired, v *VM) { v.MemoryMiB = 4096 }, "2 CPUs, 4096 MiB → 2 CPUs, 2048 MiB"},
		"Secure Boot":               {func(d *Desired, _ *VM) { d.VMs[0].SecureBoot = true }, "Secure Boot off → on"},
		"Secure Boot is never left": {func(_ *Desired, v *VM) { v.SecureBoot = true }, ""},
		"a disk":                    {func(d *Desired, _ *VM) { d.VMs[0].Disks[1].Bytes = 20 << 30 }, "disk logs 10 GiB → 20 GiB"},
		"a disk larger than wanted": {func(_ *Desired, v *VM) { v.Disks[0].Bytes = 20 << 30 }, ""},
		"a disk not recorded":       {func(d *Desired, v *VM) { d.VMs[0].Disks[1].Bytes, v.Record.Disks = 20<<30, v.Record.Disks[:1] }, ""},
		"a disk not attached":       {func(d *Desired, v *VM) { d.VMs[0].Disks[1].Bytes, v.Disks = 20<<30, v.Disks[:1] }, ""},
		"everything": {func(d *Desired, v *VM) {
			outdate(v)
			v.CPUs, d.VMs[0].SecureBoot, d.VMs[0].Disks[0].Bytes, d.VMs[0].Disks[1].Bytes = 1, true, 11<<30, 1<<40
		}, "image aaaaaaaaaaaa → bbbbbbbbbbbb; 1 CPUs, 2048 MiB → 2 CPUs, 2048 MiB; Secure Boot off → on; disk docker 10 GiB → 11 GiB; disk logs 10 GiB → 1 TiB"},
	} {
		d := wish(1, "docker", "logs")
		v := standing(d, d.VMs[0], newDigest)
		c.spoil(&d, &v)
		got := ""
		for i, diff := range differences(d, d.VMs[0], v) {
			if i > 0 {
				got += "; "
			}
			got += diff
		}
		if got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestReasons: why something is done to a VM, in plain words.
func TestReasons(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		want  string
	}{
		"off":                             {func(_ *Desired, v *VM) { powerOff(v) }, "it is powered off and should run"},
		"off, on the old image":           {func(_ *Desired, v *VM) { outdate(v); powerOff(v) }, "image aaaaaaaaaaaa → bbbbbbbbbbbb; it is poweredOff"},
		"silent, on the old image":        {func(_ *Desired, v *VM) { outdate(v); v.Guest.Tools = false }, "image aaaaaaaaaaaa → bbbbbbbbbbbb; guest tools do not run"},
		"ill for long":                    {func(d *Desired, v *VM) { d.Rollout.Heal, v.Guest.Tools = time.Minute, false; illSince(time.Hour)(v) }, "it does not serve: guest tools do not run"},
		"old image":                       {func(_ *Desired, v *VM) { outdate(v) }, "image aaaaaaaaaaaa → bbbbbbbbbbbb"},
		"old image, and too old":          {func(d *Desired, v *VM) { d.Rollout.MaxAge = 1; outdate(v) }, "image aaaaaaaaaaaa → bbbbbbbbbbbb"},
		"too old":                         {func(d *Desired, v *VM) { d.Rollout.MaxAge = 1800e9 }, "it has run for 1h0m0s, max_age is 30m0s"},
		"a dead run's":                    {func(_ *Desired, v *VM) { abandoned(v) }, "a roll stopped halfway"},
		"a dead run's, on the old image":  {func(_ *Desired, v *VM) { abandoned(v); outdate(v) }, "a roll stopped halfway; image aaaaaaaaaaaa → bbbbbbbbbbbb"},
		"ours":                            {func(_ *Desired, v *VM) { heldBy(me)(v) }, "its roll is under way"},
		"ours, of another size":           {func(_ *Desired, v *VM) { heldBy(me)(v); smaller(v) }, "its roll is under way; 1 CPUs, 2048 MiB → 2 CPUs, 2048 MiB"},
		"ours until this moment":          {func(_ *Desired, v *VM) { heldBy(me)(v); v.Record.Expires = t0 }, "a roll stopped halfway"},
		"drained":                         {func(_ *Desired, v *VM) { drainedly(v) }, "it serves, and is still drained"},
		"serves again, first seen ill":    {func(_ *Desired, v *VM) { illSince(time.Hour)(v) }, "it serves again"},
		"does not serve, first seen so":   {func(d *Desired, v *VM) { d.Rollout.Heal, v.Guest.Tools = time.Minute, false }, "guest tools do not run"},
		"its roll failed, and goes back":  {func(d *Desired, v *VM) { d.Rollout.OnFailure = "rollback"; failedRoll(v) }, "its roll failed: not ready; image bbbbbbbbbbbb → aaaaaaaaaaaa"},
		"claimed, and the window is shut": {func(d *Desired, v *VM) { d.Rollout.Window = tomorrow(); abandoned(v); outdate(v) }, "claimed but not touched, and the window has closed"},
	} {
		d, o := fleetWith(1, newDigest)()
		c.spoil(&d, &o.VMs[0])
		p := Compute(d, o, t0)
		if len(p.Waves) == 0 || p.Waves[0].Rolls[0].Reason != c.want {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
