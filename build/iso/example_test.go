package iso_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lkv-io/lkv/build/iso"
)

// An image is written in one pass: New, the initrd piece by piece, Close. The boot loader's files are stand-ins
// here; real ones come from Debian's packages isolinux and syslinux-common.
func Example() {
	dir, err := os.MkdirTemp("", "iso")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "worker.iso"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	w, err := iso.New(f, iso.Options{
		VolumeID:    "WORKER",
		Epoch:       time.Unix(1_700_000_000, 0),
		BIOS:        &iso.BIOS{Isolinux: make([]byte, 4096), Ldlinux: []byte("c32"), Isohdpfx: make([]byte, 432)},
		Cmdline:     "console=ttyS0",
		Kernel:      []byte("kernel"),
		InitrdBound: 1 << 20,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(w, "first segment,")
	fmt.Fprint(w, "second segment")
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}
	image, err := iso.Open(f)
	if err != nil {
		fmt.Println(err)
		return
	}
	initrd, err := image.ReadFile(iso.InitrdPath)
	fmt.Println(image.VolumeID, string(initrd), err)
	cfg, err := image.ReadFile(iso.ConfigPath)
	fmt.Println(strings.Contains(string(cfg), "console=ttyS0"), err)
	// Output:
	// WORKER first segment,second segment <nil>
	// true <nil>
}
