package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGateOfARoll: what the wait at the end of a roll asks for: this boot, this image, every disk by the serial number the
// guest will see, for as long as was said.
func TestGateOfARoll(t *testing.T) {
	both := []GuestMount{{Path: "/var/lib/docker", Serial: SerialOf(uuidOf(1, 0))}, {Path: "/var/lib/logs", Serial: SerialOf(uuidOf(1, 1))}}
	for name, c := range map[string]struct {
		spoil  func(d *Desired, v *VM)
		mounts []GuestMount
	}{
		"both disks":                   {func(*Desired, *VM) {}, both},
		"mounts are not asked for":     {func(d *Desired, _ *VM) { d.Rollout.NoMounted = true }, nil},
		"one disk has no mount":        {func(d *Desired, _ *VM) { d.VMs[0].Disks[1].Mount, d.Image.Mounts = "", d.Image.Mounts[:1] }, both[:1]},
		"one disk has a new mount":     {func(d *Desired, _ *VM) { d.VMs[0].Disks[1].Mount, d.Image.Mounts[1].Path = "/logs", "/logs" }, []GuestMount{both[0], {Path: "/logs", Serial: both[1].Serial}}},
		"the UUID was never recorded":  {func(_ *Desired, v *VM) { v.Record.Disks[1].UUID = "" }, both},
		"the record spells it another": {func(_ *Desired, v *VM) { v.Record.Disks[1].UUID = strings.ToLower(v.Record.Disks[1].UUID) }, both},
	} {
		d := wish(1, "docker", "logs")
		o := fleetOf(d, oldDigest)
		c.spoil(&d, &o.VMs[0])
		want := AwaitReady{base: Of("wrk-01"), Token: "bbbbbbbbbbbb-4", ImageID: "sha256:new", Mounts: c.mounts, Timeout: d.Rollout.Timeout, Settle: d.Rollout.Settle}
		if diff := cmp.Diff(want, stepFor[AwaitReady](t, Compute(d, o, t0), "wrk-01"), steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestImageMustFit: the image-to-disk gate at its edges. One VM on the old image with disks docker and logs.
func TestImageMustFit(t *testing.T) {
	image := func(f func(im *Image)) func(*Desired, *VM) { return func(d *Desired, _ *VM) { f(&d.Image) } }
	record := func(f func(r *DiskRecord)) func(*Desired, *VM) {
		return func(_ *Desired, v *VM) { f(&v.Record.Disks[0]) }
	}
	const rebuild = "lkv build --image worker && lkv push --image worker"
	for name, c := range map[string]struct {
		spoil func(d *Desired, v *VM)
		code  Code // "" is fine
		says  string
		clear string
	}{
		"it fits":                           {func(*Desired, *VM) {}, "", "", ""},
		"memory to the byte":                {image(func(im *Image) { im.RAM = 2048 << 20 }), "", "", ""},
		"a byte of memory short":            {image(func(im *Image) { im.RAM = 2048<<20 + 1 }), R02, "image worker needs 2049 MiB to boot, the VM gets 2048 MiB", rebuild},
		"what it needs is not known":        {image(func(im *Image) { im.RAM = 0 }), "", "", ""},
		"memory it gets counts, not has":    {func(d *Desired, v *VM) { d.Image.RAM, v.MemoryMiB = 2048<<20, 512 }, "", "", ""},
		"memory it has counts for nothing":  {func(d *Desired, v *VM) { d.Image.RAM, v.MemoryMiB = 3<<30, 8192 }, R02, "needs 3072 MiB", rebuild},
		"firmware of the VM":                {func(d *Desired, v *VM) { d.Image.Boot, v.Firmware, d.VMs[0].Firmware = []string{"uefi"}, "efi", "bios" }, "", "", ""},
		"firmware of the VM is another":     {func(d *Desired, v *VM) { d.Image.Boot, v.Firmware, d.VMs[0].Firmware = []string{"bios"}, "efi", "bios" }, R02, "image worker boots with [bios], the VM has firmware uefi", rebuild},
		"firmware not told: as wanted":      {func(d *Desired, v *VM) { d.Image.Boot, v.Firmware, d.VMs[0].Firmware = []string{"uefi"}, "", "efi" }, "", "", ""},
		"firmware neither told nor wanted":  {func(d *Desired, v *VM) { d.Image.Boot, v.Firmware, d.VMs[0].Firmware = []string{"bios"}, "", "" }, "", "", ""},
		"firmware nobody knows":             {func(_ *Desired, v *VM) { v.Firmware = "open" }, R02, "the VM has firmware open", rebuild},
		"ISO on another store only":         {image(func(im *Image) { im.Paths = map[string]string{"dc2": newISO} }), R01, `ISO bbbbbbbbbbbb of image worker is not on store "dc1"`, "lkv push --image worker --store dc1"},
		"no manifest":                       {image(func(im *Image) { im.Known = false }), R02, "the manifest of ISO bbbbbbbbbbbb is missing or describes another ISO", rebuild},
		"force on the second disk":          {image(func(im *Image) { im.Mounts[1].Force = true }), R03, "formats the disk for /var/lib/logs by force", rebuild},
		"an older engine":                   {func(d *Desired, v *VM) { d.Image.Engine, v.Record.Engine = "27.5", "28.3.1" }, R04, "image worker has Docker Engine 27.5, and 28.3.1 has used the VM's disks", "build the image with the newer engine: " + rebuild},
		"the same engine":                   {func(d *Desired, v *VM) { d.Image.Engine, v.Record.Engine = "28.3.1", "28.3.1" }, "", "", ""},
		"both found by disk UUID":           {image(func(im *Image) { byUUID(im, uuidOf(1, 0), uuidOf(1, 1)) }), "", "", ""},
		"the UUID spelt like a serial":      {image(func(im *Image) { byUUID(im, SerialOf(uuidOf(1, 0)), uuidOf(1, 1)) }), "", "", ""},
		"UUIDs the other way round":         {image(func(im *Image) { byUUID(im, uuidOf(1, 1), uuidOf(1, 0)) }), R02, "looks for disk UUID " + uuidOf(1, 1) + " at /var/lib/docker, this VM's is " + uuidOf(1, 0), rebuild},
		"one UUID for both, spelt apart":    {image(func(im *Image) { byUUID(im, uuidOf(1, 0), SerialOf(uuidOf(1, 0))) }), R02, "the mounts of /var/lib/docker and /var/lib/logs look for the same disk", rebuild},
		"one label for both":                {image(func(im *Image) { im.Mounts[1].Label = "docker" }), R02, `the mounts of /var/lib/docker and /var/lib/logs look for the same disk "docker"`, rebuild},
		"one has neither label nor UUID":    {image(func(im *Image) { im.Mounts[1].Label = "" }), R02, "the mount of /var/lib/logs finds its disk by order", rebuild},
		"a mount where no disk is wanted":   {image(func(im *Image) { im.Mounts = append(im.Mounts, Mount{Path: "/x", Label: "x", Gated: true}) }), R02, "image worker waits for a disk at /x, the fleet has none for it", rebuild},
		"a disk that nothing mounts":        {image(func(im *Image) { im.Mounts = im.Mounts[:1] }), R02, "image worker mounts nothing at /var/lib/logs, where disk logs belongs", rebuild},
		"a disk without a mount":            {func(d *Desired, _ *VM) { d.VMs[0].Disks[1].Mount, d.Image.Mounts = "", d.Image.Mounts[:1] }, "", "", ""},
		"a mount without a path, no disk's": {func(d *Desired, _ *VM) { d.VMs[0].Disks[1].Mount, d.Image.Mounts[1].Path = "", "" }, "", "", ""},
		"services that do not wait":         {image(func(im *Image) { im.Mounts[1].Gated = false }), R02, "image worker starts its services even when /var/lib/logs is not mounted", rebuild},
		"labelled otherwise":                {record(func(r *DiskRecord) { r.Label = "data" }), R02, "image worker looks for label docker at /var/lib/docker, the disk was labelled data", rebuild},
		"nobody knows its label":            {record(func(r *DiskRecord) { r.Label = "" }), "", "", ""},
		"found by UUID, whatever its label": {func(d *Desired, v *VM) {
			byUUID(&d.Image, uuidOf(1, 0), uuidOf(1, 1))
			v.Record.Disks[0].Label = "data"
		}, "", "", ""},
		"formatted otherwise":             {record(func(r *DiskRecord) { r.Filesystem = "xfs" }), R02, "image worker mounts ext4 at /var/lib/docker, the disk was formatted with xfs", rebuild},
		"nobody knows its file system":    {record(func(r *DiskRecord) { r.Filesystem = "" }), "", "", ""},
		"the image takes any file system": {func(d *Desired, v *VM) { d.Image.Mounts[0].Filesystem, v.Record.Disks[0].Filesystem = "", "xfs" }, "", "", ""},
	} {
		d := wish(1, "docker", "logs")
		o := fleetOf(d, oldDigest)
		c.spoil(&d, &o.VMs[0])
		p := Compute(d, o, t0)
		if err := Check(p, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.code == "" {
			if len(p.Blocked) > 0 || len(p.Waves) != 1 {
				t.Errorf("%s: %+v", name, p.Blocked)
			}
			continue
		}
		if b := refusalOf(t, p, "wrk-01"); b.Code != c.code || !strings.Contains(b.Reason, c.says) || !strings.Contains(b.Clear, c.clear) || len(p.Waves) > 0 {
			t.Errorf("%s: %s", name, b.Error())
		}
	}
}

func byUUID(im *Image, docker, logs string) {
	im.Mounts[0].Label, im.Mounts[0].UUID, im.Mounts[1].Label, im.Mounts[1].UUID = "", docker, "", logs
}

// TestGateIsForBoots: an image that would not do is no reason to leave a VM claimed, or drained, when nothing has to
// boot; and a VM that serves goes on serving.
func TestGateIsForBoots(t *testing.T) {
	start := func() (Desired, Observed) {
		d, o := fleetWith(2, newDigest)()
		d.Image.Known = false
		return d, o
	}
	vm := func(f func(v *VM)) func(*Desired, *Observed) {
		return func(_ *Desired, o *Observed) { each(o, f, 1) }
	}
	tell(t, start, []tale{
		{"as wanted", nil, ""},
		{"claimed, and nothing else", vm(abandoned), "finish 01"},
		{"drained, and nothing else", vm(drainedly), "finish 01"},
		{"on the old image", vm(outdate), "R02 01"},
		{"off", vm(powerOff), "R02 01"},
		{"to be booted afresh", vm(func(v *VM) { abandoned(v); v.Record.Due = true }), "R02 01"},
		{"booting in a roll", vm(func(v *VM) { abandoned(v); silence(v) }), "finish 01"},
		{"missing", func(_ *Desired, o *Observed) { vanish(o, 1) }, "R02 01"},
		{"released although its ISO is gone from the store", func(d *Desired, o *Observed) {
			d.Image.Paths = nil
			each(o, abandoned, 1)
		}, "finish 01"},
	})
	d, o := start()
	d.Image.Paths = nil
	each(&o, abandoned, 1)
	if got := doing(Compute(d, o, t0), "wrk-01"); got != "claim release" {
		t.Error(got)
	}
}

// TestUpWords: what an operator reads of a VM that does not serve: the first thing that is wrong, exactly.
func TestUpWords(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *VM)
		says  string
	}{
		"off before all else":       {func(v *VM) { v.Power, v.Guest = Off, Guest{} }, "it is poweredOff"},
		"suspended":                 {func(v *VM) { v.Power = Suspended }, "it is suspended"},
		"tools before the report":   {func(v *VM) { v.Guest = Guest{} }, "guest tools do not run"},
		"no report":                 {func(v *VM) { v.Guest.State = "" }, "the guest has not reported yet"},
		"an error without a state":  {func(v *VM) { v.Guest.State, v.Guest.Error = "", "x" }, "the guest says none: x"},
		"a state without an error":  {func(v *VM) { v.Guest.State = "stopping" }, "the guest says stopping"},
		"a state with an error":     {func(v *VM) { v.Guest.State, v.Guest.Error = "failed", "no disk" }, "the guest says failed: no disk"},
		"no image":                  {func(v *VM) { v.Guest.ImageID = "" }, "the guest runs image none, the record says sha256:new"},
		"the image before the boot": {func(v *VM) { v.Guest.ImageID, v.Guest.Token = "sha256:old", "x" }, "the guest runs image sha256:old, the record says sha256:new"},
		"no token":                  {func(v *VM) { v.Guest.Token = "" }, "the guest echoes token none, the record says bbbbbbbbbbbb-3: it has not booted since the swap"},
		"not in its record":         {func(v *VM) { v.Record.Disks = nil }, "disk docker is not in its record"},
		"not attached":              {func(v *VM) { v.Disks = nil }, "disk docker is not attached"},
		"not mounted":               {func(v *VM) { v.Guest.Mounts = nil }, "the guest has not mounted disk docker (" + uuidOf(1, 0) + ") at /var/lib/docker"},
		"the second check":          {func(v *VM) { v.Guest.Probes = []Probe{{"a", true, ""}, {"b", false, "refused"}} }, "check b: refused"},
		"a disk before a check":     {func(v *VM) { v.Guest.Mounts, v.Guest.Probes = nil, []Probe{{"b", false, "refused"}} }, "the guest has not mounted disk docker (" + uuidOf(1, 0) + ") at /var/lib/docker"},
	} {
		d := wish(1, "docker")
		v := standing(d, d.VMs[0], newDigest)
		c.spoil(&v)
		if got := Up(d, d.VMs[0], v); got != c.says {
			t.Errorf("%s: %s", name, got)
		}
		if got := Ready(d, d.VMs[0], v); got != c.says {
			t.Errorf("%s: the gate says %s", name, got)
		}
	}
}

// TestUpWithoutMounts: a disk without a mount is none the guest is asked for.
func TestUpWithoutMounts(t *testing.T) {
	d := wish(1, "docker")
	d.VMs[0].Disks[0].Mount = ""
	v := standing(d, d.VMs[0], newDigest)
	v.Guest.Mounts, v.Disks, v.Record.Disks = nil, nil, nil
	if why := Up(d, d.VMs[0], v); why != "" {
		t.Error(why)
	}
}

// TestReadyIsTheWantedImage: a VM that serves on another image than the wanted one does not pass, whether its record or
// its guest is the one that is behind.
func TestReadyIsTheWantedImage(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *VM)
		says  string
	}{
		"both are new":      {func(*VM) {}, ""},
		"both are old":      {outdate, "it runs image aaaaaaaaaaaa, wanted is bbbbbbbbbbbb"},
		"its digest is old": {func(v *VM) { v.Record.Image = oldDigest }, "it runs image aaaaaaaaaaaa, wanted is bbbbbbbbbbbb"},
		"its ID is old":     {func(v *VM) { v.Record.ImageID, v.Guest.ImageID = "sha256:x", "sha256:x" }, "it runs image bbbbbbbbbbbb, wanted is bbbbbbbbbbbb"},
	} {
		d := wish(1, "docker")
		v := standing(d, d.VMs[0], newDigest)
		c.spoil(&v)
		if got := Ready(d, d.VMs[0], v); got != c.says {
			t.Errorf("%s: %s", name, got)
		}
		if got := Up(d, d.VMs[0], v); got != "" {
			t.Errorf("%s: it does not serve: %s", name, got)
		}
	}
}
