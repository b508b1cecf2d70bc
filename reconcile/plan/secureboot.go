package plan

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// Chains of trust of an image, with the manifest's words.
const (
	ChainKey  = "key"  // signed with the user's own key; the VM's firmware must know Trust.Certificate
	ChainShim = "shim" // Microsoft-signed shim: every VM's firmware knows Microsoft's certificates
)

// Trust is why firmware with Secure Boot starts an image. The zero value is an image that it would not start.
type Trust struct {
	Chain       string // ChainKey, ChainShim or ""
	Certificate []byte // DER; ChainKey only
}

type (
	// InstallKey puts a certificate where the firmware of a VM that was never powered on finds it, and names it in the
	// VM's configuration. Done when the VM names it: the file is there before its name is.
	InstallKey struct {
		base
		Certificate []byte // DER
	}
	// EnableSecureBoot turns UEFI Secure Boot on for a powered-off VM. No step turns it off.
	EnableSecureBoot struct{ base }
)

// Key names the certificate that firmware must know, or is "" when no other than Microsoft's is needed.
func (t Trust) Key() string {
	if t.Chain != ChainKey {
		return ""
	}
	return KeyOf(t.Certificate)
}

// KeyOf names a certificate: the SHA-256 of its DER bytes, 64 hex digits. No bytes have no name.
func KeyOf(der []byte) string {
	if len(der) == 0 {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(der))
}

// knows tells whether the VM's firmware knows the image's key, or will when it starts for the first time.
func knows(v VM, key string) bool { return key == "" || slices.Contains(v.Keys, key) }

// keyless tells whether a key can still be installed: firmware reads it when it makes its NVRAM, at the first power on.
// Only a VM whose creation is under way has surely none.
func keyless(v VM) bool { return creating(v) && len(v.Keys) == 0 }

// wantsKey tells whether the wanted image's key is to be installed.
func wantsKey(want Desired, w WantVM, v VM) bool {
	return (w.SecureBoot || v.SecureBoot) && !knows(v, want.Image.Trust.Key()) && keyless(v)
}

// untrusted returns why the VM's firmware would not start the wanted image because of Secure Boot, and what clears it,
// or "". v is nil for a VM that does not exist yet. lkv turns Secure Boot on when the fleet says so and never off: a VM
// that has it on without being asked for is held to it.
func untrusted(im Image, w WantVM, v *VM) (why, clear string) {
	if !w.SecureBoot && (v == nil || !v.SecureBoot) {
		return "", ""
	}
	firmware, has := w.Firmware, VM{}
	if v != nil {
		has = *v
		if v.Firmware != "" {
			firmware = v.Firmware
		}
	}
	rebuild := im.rebuild()
	again := "make the VM again around its data disk: in the vSphere client detach the disk, keeping its file, delete the VM, and run lkv reconcile"
	switch t := im.Trust; {
	case firmware != "efi":
		return fmt.Sprintf("the fleet wants Secure Boot, which is a part of UEFI, and the VM has firmware %s", orNone(firmware)),
			"take secure_boot out of the fleet's vm block, or " + again
	case t.Chain == "":
		clear = fmt.Sprintf("give image %s a secure_boot block (or efi = \"grub\"), then %s; or take secure_boot out of the fleet's vm block", im.Name, rebuild)
		if has.SecureBoot {
			clear += " and turn Secure Boot off in the VM's boot options in the vSphere client"
		}
		return fmt.Sprintf("image %s is not signed, and Secure Boot would not start it", im.Name), clear
	case t.Chain != ChainKey && t.Chain != ChainShim:
		return fmt.Sprintf("image %s has Secure Boot chain %q, which this lkv does not know", im.Name, t.Chain), "use a newer lkv"
	case t.Chain == ChainKey && t.Key() == "":
		return fmt.Sprintf("the manifest of image %s has no Secure Boot certificate", im.Name), rebuild
	case v == nil || knows(has, t.Key()) || keyless(has):
		return "", ""
	}
	return fmt.Sprintf("image %s is signed with key %s, the VM's firmware was made with %s and takes no other", im.Name, short(im.Trust.Key()), keysText(has.Keys)),
		"sign the image with the key the VM was made with, or " + again
}

func keysText(keys []string) string {
	if len(keys) == 0 {
		return "no key of lkv"
	}
	text := "key"
	for _, k := range keys {
		text += " " + short(k)
	}
	return text
}
