package iso

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckCmdline(t *testing.T) {
	biosMax := maxBIOSCmdline - len(bootImageArg+initrdArg)
	for _, c := range []struct {
		in   string
		bios bool
		grub bool
		want string // in when empty
		bad  string // part of the error
	}{
		{in: `console=ttyS0 a="b c" pct=%d bs=C:\x $(y) -- -z`, bios: true},
		{in: "", bios: true},
		{in: "  quiet  ", bios: true, want: "quiet"},
		{in: strings.Repeat("x", biosMax), bios: true},
		{in: strings.Repeat("x", maxCmdline)},
		{in: strings.Repeat("x", biosMax+1), bios: true, bad: "at most 2001"},
		{in: strings.Repeat("x", maxCmdline+1), bad: "at most 2047"},
		{in: "quiet\n", bios: true, bad: "byte 6 (0x0a)"},
		{in: "a\tb", bad: "byte 2 (0x09)"},
		{in: "name=Zoë", bad: "byte 8 (0xc3)"},
		{in: "-", bios: true, bad: `lone "-"`},
		{in: "-"},
		{in: "quiet initrd=/x", bios: true, bad: `"initrd=/x"`},
		{in: "quiet noinitrd=/x", bios: true},
		{in: `$(y) ${z} a;b {c} %d  "two  words" -- -z`, grub: true},
		{in: `a="b c"`, grub: true, bad: `write "name=two words"`},
		{in: strings.Repeat("x", maxCmdline-len(grubBefore)), grub: true},
		{in: strings.Repeat("x", maxCmdline-len(grubBefore)+1), grub: true, bad: "at most 2022"},
		{in: strings.Repeat("x", 2010), bios: true, grub: true, bad: "at most 2001"},
	} {
		got, err := checkCmdline(c.in, c.bios, c.grub)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%.40q: error %v, want %q in it", c.in, err, c.bad)
			}
			continue
		}
		if want := c.want; err != nil || got != c.in && got != want {
			t.Errorf("%.40q: got %q, %v", c.in, got, err)
		}
	}
	if _, err := checkCmdline(strings.Repeat("x", 3000), true, false); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too long: %v is no ErrTooLarge", err)
	}
}

func TestIsolinuxConfig(t *testing.T) {
	const want = "DEFAULT linux\nPROMPT 0\nNOESCAPE 1\nLABEL linux\nLINUX /boot/vmlinuz\nAPPEND initrd=/boot/initrd a=\"b %d\" \\\n"
	if got := string(isolinuxConfig(`a="b %d" \`)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := string(isolinuxConfig("")); !strings.HasSuffix(got, "APPEND initrd=/boot/initrd\n") {
		t.Errorf("empty command line: %q", got)
	}
}
