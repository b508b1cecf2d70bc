package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// volumeSize limits what is written to a volume, as a share of all memory.
const volumeSize = "50%"

// volumes mounts what the YAML's volumes are: for each directory below dir, its "lower" on "merged". One with a
// directory "tmp" is writable; what is written stays in memory.
func volumes(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range list {
		if err := volume(filepath.Join(dir, v.Name())); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name(), err)
		}
	}
	return nil
}

func volume(dir string) error {
	lower, merged, tmp := filepath.Join(dir, "lower"), filepath.Join(dir, "merged"), filepath.Join(dir, "tmp")
	_, err := os.Stat(tmp)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The kernel takes "read-only" of a bind mount only when it is mounted again.
		return mountInOrder([]point{
			{lower, merged, "", unix.MS_BIND, "", false},
			{lower, merged, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, "", false},
		})
	case err != nil:
		return err
	}
	upper, work := filepath.Join(tmp, "upper"), filepath.Join(tmp, "work")
	if err := mountInOrder([]point{{"tmpfs", tmp, "tmpfs", 0, "mode=0755,size=" + volumeSize, false}}); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	if err := likeLower(upper, lower); err != nil {
		return err
	}
	return mountInOrder([]point{{"overlay", merged, "overlay", 0, "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work, false}})
}

// likeLower makes the directory whose mode and owner the mounted volume shows.
func likeLower(upper, lower string) error {
	st, err := os.Stat(lower)
	if err != nil {
		return err
	}
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(upper, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(upper, st.Mode())
}

func mountInOrder(list []point) error {
	for _, p := range list {
		if err := p.mount(); err != nil {
			return err
		}
	}
	return nil
}
