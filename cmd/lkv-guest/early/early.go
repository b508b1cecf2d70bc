// Package early is the first part of PID 1's life on an image whose root file system is a squashfs, in the initrd or on
// a CD: it loads the modules, finds the squashfs, puts a tmpfs over it and runs the real init there.
//
// The initrd's own file system stays below, out of everybody's sight and emptied of all but the squashfs. Disks are
// only ever read, and of those that are not the image's own medium, one sector.
package early

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/boot"
	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/rootdesc"
	"golang.org/x/sys/unix"
)

// flush bounds the wait for consoles before the program is replaced.
const flush = 2 * time.Second

// Switch makes the root file system of rootdesc.Path and runs its init in place of this program. So it returns only
// nil when there is nothing to switch to: no description, or an initrd that was not unpacked completely, which
// boot.Run then says; or an error, the reason why this machine cannot boot.
func Switch(args, env []string) error {
	if !boot.OnRAM() {
		return nil // this is the real init already
	}
	root, err := describe(rootdesc.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	console := boot.NewConsole(os.Stdout)
	if err == nil {
		loadAll(root.Modules, load, console.Say)
	}
	if !boot.Complete(report.MarkerPath) {
		return nil
	}
	if err == nil {
		err = enough(root)
	}
	if err != nil {
		return err
	}
	if err := prepare(console); err != nil {
		return err
	}
	if err := build(root, console); err != nil {
		return err
	}
	console.Flush(flush)
	if err := enter(root); err != nil {
		return err
	}
	return fmt.Errorf("run %s of the root file system: %w", root.Init, unix.Exec(root.Init, append([]string{root.Init}, args...), env))
}

// enough refuses a machine whose memory the image does not fit in. With the squashfs in the initrd the kernel finds that
// out by itself; one on a CD would be mounted, and then whatever needs memory first would be killed.
func enough(root rootdesc.Root) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("ask for the size of the memory: %w", err)
	}
	if have := int64(info.Totalram) * int64(info.Unit); have < root.Memory {
		return fmt.Errorf("this VM has too little memory for its image: %d MiB are usable, it needs %d MiB; nothing is started; power it off and give it more RAM",
			have>>20, root.Memory>>20)
	}
	return nil
}

func describe(file string) (rootdesc.Root, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return rootdesc.Root{}, fmt.Errorf("read description of the root file system: %w", err)
	}
	return rootdesc.Parse(text)
}

// prepare makes what finding and mounting needs, and shows our lines on every console.
func prepare(console *boot.Console) error {
	for _, m := range []mount{
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	} {
		if err := m.do(); err != nil && !errors.Is(err, unix.EBUSY) { // busy: the kernel has mounted it
			return err
		}
	}
	if active, err := os.ReadFile("/sys/class/tty/console/active"); err == nil {
		console.OpenAll(string(active), "/dev")
	}
	return nil
}

// build finds the squashfs and mounts the new root file system on newRoot.
func build(root rootdesc.Root, console *boot.Console) error {
	file, err := squashfs(root, console)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	defer release(medium) // the loop device holds the file, and by that the medium
	return assemble(file)
}

// squashfs opens the file that has the root file system.
func squashfs(root rootdesc.Root, console *boot.Console) (*os.File, error) {
	if root.Mode == rootdesc.ModeCD {
		s := search{want: root, media: devices{}, say: console.Say}
		return s.find()
	}
	f, err := os.Open(rootdesc.Squashfs)
	if err != nil {
		return nil, fmt.Errorf("open the root file system: %w", err)
	}
	if err := checkSize(f, root.Size); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", rootdesc.Squashfs, err)
	}
	return f, nil
}
