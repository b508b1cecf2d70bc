package iso

import (
	"errors"
	"fmt"
	"strings"
)

// Paths in the ISO 9660 tree that isolinux and this package's users rely on.
const (
	KernelPath  = "boot/vmlinuz"
	InitrdPath  = "boot/initrd"
	CatalogPath = "boot/boot.cat"
	EFIPath     = "boot/efi.img"          // the whole FAT image
	UKIPath     = "EFI/BOOT/BOOTX64.EFI"  // the unified kernel image inside it; with GRUB, shim or GRUB itself
	ConfigPath  = "isolinux/isolinux.cfg" // one of the places isolinux.bin looks at
	isolinuxDir = "isolinux/"
)

// What an x86 kernel takes is COMMAND_LINE_SIZE, 2048 bytes with the final NUL. isolinux 6.04 passes one byte
// less: booted with 2047 bytes, the last one was missing from /proc/cmdline.
const (
	maxCmdline     = 2047
	maxBIOSCmdline = 2046
)

// isolinux puts these before the configured command line; they count towards the kernel's limit.
// The initrd stands in front so that a command line with "--" still hands only its own words to init.
const (
	bootImageArg = "BOOT_IMAGE=/" + KernelPath + " "
	initrdArg    = "initrd=/" + InitrdPath + " "
)

// checkCmdline returns the command line without surrounding spaces, which both loaders drop. It refuses what one
// of them would change: control characters (systemd's stub makes them spaces, isolinux ends the line), bytes
// outside ASCII (the stub converts through UTF-16), a lone "-" (isolinux: empty), an own initrd= (isolinux
// would load that file), quotes and backslashes that GRUB changes, and more than the kernel takes.
func checkCmdline(s string, bios, grub bool) (string, error) {
	s = strings.Trim(s, " ")
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return "", fmt.Errorf("check kernel command line: byte %d (0x%02x) is not printable ASCII", i+1, s[i])
		}
	}
	if grub {
		if _, err := grubWords(s); err != nil {
			return "", err
		}
		if err := checkLength(s, maxCmdline-len(grubBefore)); err != nil {
			return "", err
		}
	}
	if !bios {
		return s, checkLength(s, maxCmdline)
	}
	if s == "-" {
		return "", errors.New(`check kernel command line: isolinux reads a lone "-" as nothing`)
	}
	for word := range strings.FieldsSeq(s) {
		if strings.HasPrefix(word, "initrd=") {
			return "", fmt.Errorf("check kernel command line: %q would replace the image's own initrd with a BIOS", word)
		}
	}
	return s, checkLength(s, maxBIOSCmdline-len(bootImageArg)-len(initrdArg))
}

func checkLength(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("check kernel command line: %d bytes, at most %d can be passed: %w", len(s), most, ErrTooLarge)
	}
	return nil
}

// isolinuxConfig is the whole configuration: boot at once, and ignore the keyboard, because a pressed shift key
// or caps lock would otherwise end at a prompt that waits for ever.
func isolinuxConfig(cmdline string) []byte {
	return []byte("DEFAULT linux\nPROMPT 0\nNOESCAPE 1\nLABEL linux\nLINUX /" + KernelPath +
		"\nAPPEND " + strings.TrimSpace(initrdArg+cmdline) + "\n")
}
