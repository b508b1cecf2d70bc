package specs

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// nameRule is what names that become files, folders and keys look like.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// spec reads every block of the root.
func (l *loader) spec(root *scope) Spec {
	s := Spec{Reconcile: Reconcile{Interval: 5 * time.Minute, ClaimTTL: 2 * time.Minute}}
	for _, b := range root.blocks {
		switch b.Type {
		case "vcenter":
			s.VCenters = append(s.VCenters, l.vcenter(b))
		case "image":
			s.Images = append(s.Images, l.image(b))
		case "store":
			s.Stores = append(s.Stores, l.store(b))
		case "fleet":
			s.Fleets = append(s.Fleets, l.fleet(b))
		case "registry":
			s.Registries = append(s.Registries, l.registry(b))
		}
	}
	if b := root.single("reconcile"); b != nil {
		l.reconcile(b, &s.Reconcile)
	}
	return s
}

// single returns the block of a type of which there may be one; more are reported.
func (s *scope) single(name string) *hcl.Block {
	all := s.blocks.OfType(name)
	if len(all) == 0 {
		return nil
	}
	for _, b := range all[1:] {
		s.l.fail(b.DefRange, "Duplicate block", "%s already has a %s block: put everything into one.", s.what, name)
	}
	return all[0]
}

// name returns a block's label and reports one that cannot be a name. Once per kind of block and place.
func (l *loader) name(b *hcl.Block, within string) string {
	name := b.Labels[0]
	at := b.DefRange
	if len(b.LabelRanges) > 0 {
		at = b.LabelRanges[0]
	}
	if !nameRule.MatchString(name) {
		l.fail(at, "Unusable name", "%q cannot be a name: write lower-case letters, digits, '.', '_' and '-', at most 63, beginning and ending with a letter or digit.", name)
	}
	l.once(at, within+b.Type+" "+name, "%s %q", b.Type, name)
	return name
}

// once reports a second thing with the same key.
func (l *loader) once(at hcl.Range, key, format string, args ...any) {
	if first, dup := l.at[key]; dup {
		l.fail(at, "Duplicate name", "There is already "+format+" at %s: give this one another name or remove it.", append(args, posOf(first))...)
		return
	}
	l.at[key] = at
}

func (l *loader) vcenter(b *hcl.Block) VCenter {
	s := l.open(b, vcenterGrammar)
	v := VCenter{Pos: posOf(b.DefRange), Name: l.name(b, "")}
	s.text("username", &v.Username)
	s.secret("password", &v.Password)
	if v.Password.IsSet() && s.plain("password") {
		s.doubt("password", clearText)
	}
	s.text("ca_file", &v.CAFile)
	if st, err := os.Stat(inDir(l.dir, v.CAFile)); v.CAFile != "" && (err != nil || st.IsDir()) {
		s.doubt("ca_file", "There is no file %s: on the machine that runs lkv reconcile, put the PEM file of vCenter's authority there, or write where it is.", inDir(l.dir, v.CAFile))
	}
	parsed(s, "thumbprint", &v.Thumbprint, parseThumbprint)
	s.flag("insecure", &v.Insecure)
	s.address(&v)
	if v.Insecure && (v.CAFile != "" || v.Thumbprint != "") {
		s.bad("insecure", "insecure = true would ignore ca_file and thumbprint: leave insecure out.")
	}
	return v
}

// clearText is what to do about a password that everybody who reads the spec can read.
const clearText = "The password stands here in clear, for everybody who may read the spec: write password = secret_file(\"/run/secrets/vcenter\") or password = env(\"VCENTER_PASSWORD\")"

// thumbprintRule is a SHA-1 or SHA-256 sum as vCenter shows it.
var thumbprintRule = regexp.MustCompile(`^(?i:[0-9a-f]{2}:){19}(?i:(?:[0-9a-f]{2}:){12})?[0-9a-f]{2}$`)

func parseThumbprint(v string) (string, error) {
	if v != "" && !thumbprintRule.MatchString(v) {
		return "", fmt.Errorf("%q is no thumbprint: write the certificate's SHA-256 sum, 32 pairs of hexadecimal digits with colons between them (20 pairs for SHA-1), for example thumbprint = \"AB:CD:…\"", v)
	}
	return v, nil
}

// address reads the URL, and takes user name and password out of it so that it can be printed.
func (s *scope) address(v *VCenter) {
	raw := ""
	s.text("url", &raw)
	if raw == "" {
		return
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		s.bad("url", "url is no address of a vCenter: write url = \"https://vcenter.example.net\"")
		return
	}
	if u.User != nil {
		if v.Username == "" {
			v.Username = u.User.Username()
		}
		if p, ok := u.User.Password(); ok && !v.Password.IsSet() {
			v.Password = NewSecret(p)
			if p != "" && s.plain("url") {
				s.doubt("url", clearText)
			}
		}
		u.User = nil
	}
	v.URL = u.String()
}

func (l *loader) image(b *hcl.Block) Image {
	s := l.open(b, imageGrammar)
	i := Image{Pos: posOf(b.DefRange), Name: l.name(b, ""), Arch: "amd64", Boot: []string{"bios", "uefi"}, Rootfs: "initrd", Compress: "default", EFI: "uki"}
	s.texts("linuxkit", &i.LinuxKit)
	s.linuxkit(&i)
	s.choice("arch", &i.Arch, "amd64", "arm64")
	s.choice("rootfs", &i.Rootfs, "initrd", "squashfs", "cd")
	s.choice("compress", &i.Compress, "fastest", "default", "best")
	s.texts("boot", &i.Boot)
	for _, f := range i.Boot {
		if f != "bios" && f != "uefi" {
			s.bad("boot", "%q is no firmware: write boot = [\"bios\", \"uefi\"]", f)
		}
	}
	s.flag("fetch", &i.Fetch)
	l.at["image.fetch "+i.Name] = s.rangeOf("fetch")
	s.choice("efi", &i.EFI, "uki", "grub")
	if sb := s.single("secure_boot"); sb != nil {
		k := l.open(sb, secureBootGrammar)
		i.SecureBoot = &SecureBoot{Pos: posOf(sb.DefRange)}
		k.text("key", &i.SecureBoot.Key)
		k.text("certificate", &i.SecureBoot.Certificate)
		if i.EFI == "grub" {
			s.bad("efi", "secure_boot signs the unified kernel image, which efi = \"grub\" does without: leave one of them out.")
		}
	}
	for _, pb := range s.blocks.OfType("persist") {
		i.Persist = append(i.Persist, l.persist(pb, i.Name))
	}
	return i
}

// linuxkit notes where the files are written, and which are not there.
func (s *scope) linuxkit(i *Image) {
	var places []hcl.Expression
	if a := s.attrs["linuxkit"]; a != nil {
		places, _ = hcl.ExprList(a.Expr) // one that is no list has a single place
	}
	for n, name := range i.LinuxKit {
		at := s.rangeOf("linuxkit")
		if len(places) == len(i.LinuxKit) {
			at = places[n].Range()
		}
		i.Written = append(i.Written, posOf(at))
		if _, err := os.Stat(inDir(s.l.dir, name)); err != nil {
			s.l.absent = append(s.l.absent, diagnostic(hcl.DiagError, at, "Unreadable LinuxKit YAML", fmt.Sprintf(
				"There is no %s: write the file, or the name of one that is there; names start from the directory of the spec.", inDir(s.l.dir, name))))
		}
	}
}

func (l *loader) persist(b *hcl.Block, image string) Persist {
	s := l.open(b, persistGrammar)
	p := Persist{Pos: posOf(b.DefRange), Mount: b.Labels[0], Filesystem: "ext4", Via: "lkv"}
	if !path.IsAbs(p.Mount) || path.Clean(p.Mount) != p.Mount || p.Mount == "/" {
		l.fail(b.DefRange, "Unusable mount path", "%q is no mount path: write an absolute path without '..' and without '/' at its end, for example persist \"/var/lib/docker\"", p.Mount)
	}
	l.once(b.DefRange, "persist "+image+" "+p.Mount, "persist %q in image %q", p.Mount, image)
	s.text("label", &p.Label)
	s.text("uuid", &p.UUID)
	s.choice("filesystem", &p.Filesystem, "ext4", "xfs")
	s.choice("via", &p.Via, "lkv", "linuxkit")
	switch {
	case p.Label != "" && p.UUID != "":
		s.bad("uuid", "A data disk is found by label or by uuid: leave one of them out.")
	case p.UUID != "" && p.Via == "linuxkit":
		s.bad("uuid", "LinuxKit's format and mount cannot find a disk by its UUID: write via = \"lkv\" or a label.")
	case p.UUID == "":
		s.label(&p, image)
	}
	return p
}

// label checks what a file system label may be. Two data disks with one label could not be told apart.
func (s *scope) label(p *Persist, image string) {
	if p.Label == "" {
		p.Label = defaultLabel(p.Mount)
	}
	longest := 16
	if p.Filesystem == "xfs" {
		longest = 12
	}
	if len(p.Label) > longest || strings.ContainsAny(p.Label, " /\\\t\n\"'") {
		s.bad("label", "%q cannot be a label of %s: write label = \"…\" with at most %d characters, no blanks, slashes or quotes.", p.Label, p.Filesystem, longest)
	}
	s.l.once(s.rangeOf("label"), "label "+image+" "+p.Label, "a data disk with the label %q in image %q", p.Label, image)
}

// watch notes that a store or placement has an error when there are more than before.
func (l *loader) watch(before int) { l.shaky = l.shaky || len(l.diags) > before }

func (l *loader) reconcile(b *hcl.Block, r *Reconcile) {
	s := l.open(b, reconcileGrammar)
	r.Pos = posOf(b.DefRange)
	s.duration("interval", &r.Interval)
	s.flag("suspend", &r.Suspend)
	s.duration("claim_ttl", &r.ClaimTTL)
	s.text("listen", &r.Listen)
	s.secret("webhook", &r.Webhook)
	if r.ClaimTTL < 30*time.Second {
		s.bad("claim_ttl", "A claim shorter than 30s would expire between two calls: write claim_ttl = \"2m\"")
	}
	if r.ClaimTTL > time.Hour {
		s.bad("claim_ttl", "For so long nobody could touch a VM after a run that died; a run that lives renews its claims: write claim_ttl = \"2m\", at most \"1h\"")
	}
	s.daemon(*r)
}
