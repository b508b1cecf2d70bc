package persist

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lkv-io/lkv/cmd/lkv-guest/container"
	"github.com/lkv-io/lkv/cmd/lkv-guest/mountinfo"
	"golang.org/x/sys/unix"
)

// mount puts the file system on the mount point and proves it. When it fails, a mount point that was made for it is
// removed: an empty directory there would look like a mounted disk.
func (p Persist) mount(f Found, filesystem string) error {
	_, missing := os.Lstat(p.Mount)
	if err := os.MkdirAll(p.Mount, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	flags, _, data := container.Options(p.Options)
	err := unix.Mount(f.Node, p.Mount, filesystem, flags, data)
	if err != nil {
		if missing != nil {
			_ = os.Remove(p.Mount)
		}
		return fmt.Errorf("mount %s on %s with options %q: %w", f.Node, p.Mount, strings.Join(p.Options, ","), err)
	}
	m, ok, err := p.mounted()
	if err != nil {
		return err
	}
	if dev := device(m); !ok || dev != f.Dev || m.Root != "/" {
		return fmt.Errorf("%s should be %s (%s), but is %s (%s)", p.Mount, f.Node, f.Dev, m.Source, dev)
	}
	return nil
}

func device(m mountinfo.Mount) string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// mounted is what is on the mount point now.
func (p Persist) mounted() (mountinfo.Mount, bool, error) {
	list, err := mountinfo.Read("/proc/self/mountinfo")
	if err != nil {
		return mountinfo.Mount{}, false, err
	}
	m, ok := mountinfo.At(list, p.Mount)
	return m, ok, nil
}

// inUse are the device numbers of everything mounted, here and, if it can be seen, in the machine.
func inUse() map[string]bool {
	out := map[string]bool{}
	for _, pid := range []string{"self", "1"} {
		list, err := mountinfo.Read("/proc/" + pid + "/mountinfo")
		if err != nil {
			continue
		}
		for _, m := range list {
			if m.Major != 0 {
				out[device(m)] = true
			}
		}
	}
	return out
}

// least is the growth that is worth the work; rounding leaves less than that.
const least = 4 << 20

// grow enlarges the mounted file system to the disk's size. Online growth goes through the journal, so a power cut
// leaves the old size or the new one; offline growth could leave neither.
func (p Persist) grow(ctx context.Context, f Found) (size int64, err error) {
	target := f.Size
	if f.Parent == "" {
		target = spanOf(f.Size)
	}
	if target-f.Super.Size < least {
		return f.Super.Size, nil
	}
	name, args := "resize2fs", []string{f.Node, strconv.FormatInt(target>>10, 10) + "K"}
	if f.Super.Type == "xfs" {
		name, args = "xfs_growfs", []string{"-D", strconv.FormatInt(target/f.Super.Block, 10), p.Mount}
	}
	out, code, err := p.Run(ctx, name, args...)
	if err != nil {
		return f.Super.Size, fmt.Errorf("grow %s: %w", f.Node, err)
	}
	if code != 0 {
		return f.Super.Size, fmt.Errorf("grow %s to %d MiB: %s: exit status %d: %s", f.Node, target>>20, name, code, lastLine(out))
	}
	return target, nil
}
