package specs

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

var (
	patternRule = regexp.MustCompile(`^[^%]*%(0[1-9])?d[^%]*$`)
	hostRule    = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	digestRule  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// maxFleet bounds a fleet's size: more is a typing error.
const maxFleet = 1000

func (l *loader) fleet(b *hcl.Block) Fleet {
	s := l.open(b, fleetGrammar)
	f := Fleet{Pos: posOf(b.DefRange), Name: l.name(b, "")}
	s.text("image", &f.Image)
	l.at["fleet.image "+f.Name] = s.rangeOf("image")
	s.follows(&f)
	s.members(&f)
	s.atLeast("max_age", &f.MaxAge, time.Hour, "In less than an hour VMs would be booted afresh all the time: write max_age = \"90d\", at least \"1h\", or leave it out for never.")
	f.HealAfter = 10 * time.Minute
	s.duration("heal_after", &f.HealAfter)
	for _, pb := range s.blocks.OfType("placement") {
		f.Placements = append(f.Placements, l.placement(pb))
	}
	if len(f.Placements) == 0 {
		l.fail(b.DefRange, "Missing block", "%s has no place for its VMs: write placement { … } with vcenter, datacenter, cluster and datastore.", s.what)
	}
	f.VM = l.vm(s.single("vm"))
	for _, db := range s.blocks.OfType("disk") {
		f.Disks = append(f.Disks, l.disk(db, f.Name))
	}
	f.Drain = l.drain(s.single("drain"))
	f.Ready = l.ready(s.single("ready"), len(f.Disks) > 0)
	f.Rollout = l.rollout(s.single("rollout"))
	f.ScaleIn = l.scaleIn(s.single("scale_in"))
	l.sense(f)
	return f
}

// follows reads which ISO of the image the fleet follows.
func (s *scope) follows(f *Fleet) {
	s.text("digest", &f.Digest)
	s.text("channel", &f.Channel)
	if f.Digest != "" && f.Channel != "" {
		s.bad("channel", "A fleet follows a channel or stays on a digest: leave one of them out.")
	}
	if f.Digest != "" && !digestRule.MatchString(f.Digest) {
		s.bad("digest", "%q is no digest: write digest = \"sha256:\" and 64 lower-case hexadecimal digits.", f.Digest)
	}
	if f.Channel != "" && !nameRule.MatchString(f.Channel) {
		s.bad("channel", "%q is no name of a channel: write channel = \"latest\"", f.Channel)
	}
	if f.Digest == "" && f.Channel == "" {
		f.Channel = "latest"
	}
}

// members reads size and name, or names.
func (s *scope) members(f *Fleet) {
	s.integer("size", &f.Size, 0, maxFleet)
	s.text("name", &f.Pattern)
	s.texts("names", &f.Names)
	switch {
	case s.has("names") && (s.has("size") || s.has("name")):
		s.bad("names", "A fleet has names, or a size and a name pattern: leave names out, or size and name.")
	case s.has("names"):
		s.pets(f.Names)
	case !s.has("size") || !s.has("name"):
		s.l.fail(s.at, "Missing argument", "%s needs VMs: write size = 2 and name = \"%s-%%02d\", or names = [\"…\"]", s.what, f.Name)
	case f.Pattern != "" && !patternRule.MatchString(f.Pattern):
		s.bad("name", "%q is no name pattern: it needs one %%d or %%02d for the VM's ordinal, for example name = \"wrk-%%02d\"", f.Pattern)
		f.Pattern = ""
	case f.Pattern != "" && !hostRule.MatchString(fmt.Sprintf(f.Pattern, max(1, f.Size))):
		s.bad("name", "%q gives no host names: write letters, digits and '-', at most 63, for example name = \"wrk-%%02d\"", f.Pattern)
	}
}

func (s *scope) pets(names []string) {
	seen := map[string]bool{}
	for _, n := range names {
		switch {
		case seen[n]:
			s.bad("names", "%q is there twice: remove one.", n)
		case !hostRule.MatchString(n):
			s.bad("names", "%q is no host name: write letters, digits and '-', at most 63.", n)
		}
		seen[n] = true
	}
}

func (l *loader) placement(b *hcl.Block) Placement {
	defer l.watch(len(l.diags))
	s := l.open(b, placementGrammar)
	p := Placement{Pos: posOf(b.DefRange)}
	s.text("vcenter", &p.VCenter)
	s.text("datacenter", &p.Datacenter)
	s.text("cluster", &p.Cluster)
	s.text("host", &p.Host)
	s.text("resource_pool", &p.ResourcePool)
	s.text("datastore", &p.Datastore)
	s.text("folder", &p.Folder)
	s.choice("spread", &p.Spread, "host", "")
	set := 0
	for _, v := range []string{p.Cluster, p.Host, p.ResourcePool} {
		if v != "" {
			set++
		}
	}
	if set > 1 {
		l.fail(b.DefRange, "Contradiction", "A placement names a cluster, a host or a resource_pool: leave all but one out.")
	}
	l.at["placement.vcenter "+p.Pos.String()] = s.rangeOf("vcenter")
	return p
}

func (l *loader) vm(b *hcl.Block) VM {
	v := VM{CPUs: 2, Memory: 2 * GiB, Firmware: "bios", GuestID: "other4xLinux64Guest"}
	if b == nil {
		return v
	}
	s := l.open(b, vmGrammar)
	v.Pos = posOf(b.DefRange)
	s.integer("cpus", &v.CPUs, 1, 768)
	s.size("memory", &v.Memory)
	if v.Memory%(4*MiB) != 0 || v.Memory < 128*MiB {
		s.bad("memory", "A VM's memory is at least 128MiB and a multiple of 4MiB: write memory = \"2GiB\"")
	}
	s.choice("firmware", &v.Firmware, "bios", "efi", "uefi")
	if v.Firmware == "uefi" {
		v.Firmware = "efi" // vSphere's word
	}
	s.flag("secure_boot", &v.SecureBoot)
	if v.SecureBoot && v.Firmware != "efi" {
		s.bad("secure_boot", "Secure Boot is a part of UEFI: write firmware = \"efi\" too")
	}
	s.text("guest_id", &v.GuestID)
	if !guestRule.MatchString(v.GuestID) {
		s.doubt("guest_id", "%q looks like no identifier of vSphere, which would refuse the VM: write guest_id = \"other4xLinux64Guest\"", v.GuestID)
	}
	s.text("annotation", &v.Annotation)
	s.textMap("guestinfo", &v.Guestinfo)
	s.textMap("extra_config", &v.ExtraConfig)
	s.reserved(v)
	for _, nb := range s.blocks.OfType("network") {
		n := Network{Pos: posOf(nb.DefRange), Name: nb.Labels[0], Type: "vmxnet3"}
		if strings.TrimSpace(n.Name) == "" {
			l.fail(nb.DefRange, "Unusable name", "No network has an empty name: write network \"VM Network\" { … } with the name of a network or port group.")
		}
		l.open(nb, networkGrammar).choice("type", &n.Type, "vmxnet3", "e1000e")
		v.Networks = append(v.Networks, n)
	}
	return v
}

// diskKey are keys of extra_config that say in the words of a .vmx file which disks a VM has, how they are written to and
// locked, and what a power off does to them. vSphere does not tell case apart in keys.
var diskKey = regexp.MustCompile(`(?i)^(?:(?:scsi|sata|ide|nvme|nvdimm)[0-9]|disk\.|snapshot\.)`)

// firmwareKey are keys of extra_config that name certificates for the firmware, by the names of files that lkv uploads.
var firmwareKey = regexp.MustCompile(`(?i)^uefi\.secureBoot\.dbDefault\.file[0-9]+$`)

// guestRule is what vSphere's identifiers of guest systems look like: rhel9_64Guest, otherGuest64.
var guestRule = regexp.MustCompile(`^[a-z][a-zA-Z0-9_]*Guest(64)?$`)

// diskPart are ends of file names that vSphere gives to the parts of a disk: a disk of such a name could not be told
// from a part of another one.
var diskPart = regexp.MustCompile(`(?:^|-)(?:flat|ctk|delta|sesparse|rdmp?|[0-9]{6}|s[0-9]{3})$`)

// generation is how a blue-green roll with fresh disks ends their file names: "docker-g1" could be a disk of its own, or
// the second one of "docker".
var generation = regexp.MustCompile(`-g[0-9]+$`)

// reserved refuses keys that lkv writes itself: they are its only record of what a VM runs.
func (s *scope) reserved(v VM) {
	for _, k := range sortedKeys(v.Guestinfo) {
		switch low := strings.ToLower(k); {
		case strings.TrimSpace(k) == "":
			s.bad("guestinfo", "A key is empty: write guestinfo = %s", s.gram.args["guestinfo"])
		case strings.HasPrefix(low, "guestinfo."):
			s.bad("guestinfo", "%q: lkv puts \"guestinfo.\" before every key itself: write %q", k, k[len("guestinfo."):])
		case low == "lkv.report" || low == "lkv.token" || low == "lkv.hostname" || low == "lkv.prove":
			s.bad("guestinfo", "%q is written by lkv itself: choose another key.", k)
		}
	}
	for _, k := range sortedKeys(v.ExtraConfig) {
		switch low := strings.ToLower(k); {
		case strings.TrimSpace(k) == "":
			s.bad("extra_config", "A key is empty: write extra_config = { \"sched.mem.pin\" = \"TRUE\" }, or leave it out.")
		case k == "disk.EnableUUID" && !strings.EqualFold(v.ExtraConfig[k], "TRUE"):
			s.bad("extra_config", "%q is always TRUE, since data disks are known by their UUIDs: leave it out.", k)
		case diskKey.MatchString(k) && k != "disk.EnableUUID":
			s.bad("extra_config", "%q is about disks, and data disks are lkv's: leave it out.", k)
		case strings.HasPrefix(low, "guestinfo."):
			s.bad("extra_config", "%q belongs into guestinfo: write guestinfo = { %q = … }", k, k[len("guestinfo."):])
		case firmwareKey.MatchString(k):
			s.bad("extra_config", "%q is written by lkv itself: write firmware = \"efi\" and secure_boot = true, and in the image secure_boot { … } with the certificate.", k)
		case strings.HasPrefix(low, "lkv."):
			s.bad("extra_config", "%q is written by lkv itself: choose another key.", k)
		}
	}
}

func (l *loader) disk(b *hcl.Block, fleet string) Disk {
	s := l.open(b, diskGrammar)
	d := Disk{Pos: posOf(b.DefRange), Name: l.name(b, "fleet "+fleet+" "), Provisioning: "thin"}
	if diskPart.MatchString(d.Name) {
		l.fail(b.DefRange, "Unusable name", "vSphere ends the names of a disk's parts with %q: give the disk another name.", diskPart.FindString(d.Name))
	}
	if generation.MatchString(d.Name) {
		l.fail(b.DefRange, "Unusable name", "Blue-green rolls end the names of fresh disks with %q: give the disk another name.", generation.FindString(d.Name))
	}
	s.size("size", &d.Size)
	if s.has("size") && d.Size != 0 && (d.Size%MiB != 0 || d.Size < 16*MiB) {
		s.bad("size", "A data disk is at least 16MiB and a multiple of 1MiB: write size = \"100GiB\"")
	}
	s.text("mount", &d.Mount)
	if d.Mount != "" && (!path.IsAbs(d.Mount) || path.Clean(d.Mount) != d.Mount || d.Mount == "/") {
		s.bad("mount", "%q is no mount path: write mount = \"/var/lib/docker\"", d.Mount)
	}
	l.at["disk.mount "+d.Pos.String()] = s.rangeOf("mount")
	s.text("datastore", &d.Datastore)
	s.choice("provisioning", &d.Provisioning, "thin", "thick")
	if d.Mount != "" {
		l.once(s.rangeOf("mount"), "mount "+fleet+" "+d.Mount, "a disk for %q in fleet %q", d.Mount, fleet)
	}
	return d
}

func (l *loader) drain(b *hcl.Block) *Drain {
	if b == nil {
		return nil
	}
	s := l.open(b, drainGrammar)
	d := &Drain{Pos: posOf(b.DefRange)}
	s.texts("command", &d.Command)
	s.program(d.Command)
	if s.has("command") {
		d.Deadline, d.OnDeadline = 10*time.Minute, "abort"
	}
	s.duration("deadline", &d.Deadline)
	s.choice("on_deadline", &d.OnDeadline, "abort", "continue")
	if s.has("command") && d.Deadline <= 0 {
		s.bad("deadline", "Without time no drain is ever done: write deadline = \"10m\"")
	}
	if sb := s.single("swarm"); sb != nil {
		ss := l.open(sb, swarmGrammar)
		d.Swarm = &Swarm{Pos: posOf(sb.DefRange), Deadline: 10 * time.Minute, OnDeadline: "abort"}
		ss.text("host", &d.Swarm.Host)
		ss.text("cert_path", &d.Swarm.CertPath)
		ss.duration("deadline", &d.Swarm.Deadline)
		ss.choice("on_deadline", &d.Swarm.OnDeadline, "abort", "continue")
	}
	if (d.Swarm != nil) == s.has("command") {
		l.fail(b.DefRange, "Contradiction", "A drain is done by a swarm or by a command: write exactly one of swarm { host = \"tcp://mgr:2376\" } and command = [\"./drain.sh\"]")
	}
	return d
}
