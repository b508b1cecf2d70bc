package iso

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// GrubConfigPath is GRUB's configuration, in the EFI system partition and, as the same bytes, in the ISO 9660
// tree: GRUB's built-in directory is /boot/grub of the volume it was loaded from, which is the partition on a disk
// and the whole volume on a CD.
const GrubConfigPath = "boot/grub/grub.cfg"

// Names by which firmware finds the first program, and shim the next ones.
const (
	firstPath   = UKIPath
	grubPath    = "EFI/BOOT/grubx64.efi"
	managerPath = "EFI/BOOT/mmx64.efi"
)

// Grub replaces the unified kernel image by GRUB, which reads kernel and initrd from the ISO 9660 tree. The EFI
// system partition then has a few megabytes, for firmware that dislikes a large one. With shim in front and
// everything signed by those who are known to it, the kernel too, it boots with the Secure Boot keys that machines
// come with.
//
// The GRUB image needs the modules of Debian's for CDs: fat, iso9660, part_gpt, regexp, search_label, test, linux.
type Grub struct {
	Shim       []byte // shimx64.efi.signed; empty: the firmware starts GRUB itself
	Grub       []byte // gcdx64.efi.signed
	MokManager []byte // mmx64.efi.signed, which shim starts to enrol keys; it may be empty
}

// grubBefore is what GRUB puts before the command line, and what counts towards the kernel's limit.
const grubBefore = "BOOT_IMAGE=/" + KernelPath + " "

// check is fine with nil: then there is a unified kernel image.
func (g *Grub) check() error {
	if g == nil {
		return nil
	}
	for _, p := range []struct {
		name string
		b    []byte
	}{{"shim", g.Shim}, {"GRUB", g.Grub}, {"MokManager", g.MokManager}} {
		if len(p.b) > 0 && (len(p.b) < 64 || string(p.b[:2]) != "MZ") {
			return fmt.Errorf("check %s: it is not an EFI program", p.name)
		}
	}
	if len(g.Grub) == 0 {
		return errors.New("check GRUB: it is empty")
	}
	if len(g.Shim) == 0 && len(g.MokManager) > 0 {
		return errors.New("check MokManager: only shim starts it, and there is no shim")
	}
	return nil
}

// grubFile is one file of the EFI system partition.
type grubFile struct {
	path    string
	content []byte
}

// files lists what the EFI system partition holds, in its order.
func (g *Grub) files(config []byte) []grubFile {
	list := []grubFile{{firstPath, g.Grub}}
	if len(g.Shim) > 0 {
		list = []grubFile{{firstPath, g.Shim}, {grubPath, g.Grub}}
		if len(g.MokManager) > 0 {
			list = append(list, grubFile{managerPath, g.MokManager})
		}
	}
	return append(list, grubFile{GrubConfigPath, config})
}

// grubConfig is the whole configuration. It boots from the medium that GRUB itself came from, so that another
// image in a second drive cannot mix in; when the firmware does not tell GRUB, the volume's label decides.
func grubConfig(volumeID string, words []string) []byte {
	var s strings.Builder
	s.WriteString(`regexp --set 1:medium '^\(([^,)]+)' "$cmdpath"
if [ -n "$medium" -a -f "($medium)/` + KernelPath + `" ]; then
  set root="$medium"
else
  search --no-floppy --set=root --label ` + grubQuote(volumeID) + `
fi
linux /` + KernelPath)
	for _, w := range words {
		s.WriteString(" " + grubQuote(w))
	}
	s.WriteString("\ninitrd /" + InitrdPath + "\nboot\n")
	return []byte(s.String())
}

// grubQuote makes one word of GRUB's script language, in which single quotes protect everything but themselves.
func grubQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quotedWord is a word that GRUB quotes by itself, and what ends it.
var quotedWord = regexp.MustCompile(`^"([^"'\\]* [^"'\\]*)"( |$)`)

// grubWords cuts a command line into words that GRUB puts together again to the same bytes. It joins words by one
// space, puts double quotes around a word with a space inside, and a backslash before every quote and backslash:
// so a quoted word can be passed as a whole only, and no other quote and no backslash at all.
func grubWords(s string) ([]string, error) {
	var words []string
	for rest, more := s, s != ""; more; {
		var word string
		if m := quotedWord.FindStringSubmatch(rest); m != nil {
			word, rest, more = m[1], rest[len(m[0]):], m[2] != ""
		} else {
			word, rest, more = strings.Cut(rest, " ")
		}
		if strings.ContainsAny(word, `"'\`) {
			return nil, fmt.Errorf("check kernel command line: GRUB puts a backslash before the quotes or backslashes of %s: "+
				`write "name=two words" for name="two words", or boot without GRUB`, word)
		}
		words = append(words, word)
	}
	return words, nil
}
