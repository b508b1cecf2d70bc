package early

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/internal/rootdesc"
	"golang.org/x/sys/unix"
)

// devices are the real media: whole disks, their partitions (an ISO may have been written into one) and CD-ROM drives.
type devices struct{}

// kinds are the beginnings of device names that can be a medium, in the order to try them.
var kinds = []string{"sr", "sd", "vd", "nvme"}

// Names lists the devices the kernel has found so far.
func (devices) Names() []string {
	entries, _ := os.ReadDir("/sys/class/block")
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return candidates(all)
}

// candidates are those names that can be a medium, CD-ROM drives first.
func candidates(names []string) []string {
	sorted := slices.Sorted(slices.Values(names))
	var out []string
	for _, k := range kinds {
		for _, n := range sorted {
			if strings.HasPrefix(n, k) {
				out = append(out, n)
			}
		}
	}
	return out
}

// Volume reads one sector.
func (devices) Volume(name string) (string, error) {
	f, err := os.Open(filepath.Join("/dev", name))
	if errors.Is(err, unix.ENOMEDIUM) {
		return "", errors.New("no medium")
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	sector := make([]byte, sectorSize)
	if _, err := f.ReadAt(sector, descriptor); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	id, ok := volumeID(sector)
	if !ok {
		return "", errNoVolume
	}
	return id, nil
}

// Open mounts the medium, where it stays mounted when this is the one.
func (devices) Open(name string, want rootdesc.Root) (*os.File, error) {
	m := mount{filepath.Join("/dev", name), medium, "iso9660", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""}
	if err := m.do(); err != nil {
		return nil, err
	}
	f, err := openChecked(filepath.Join(medium, rootdesc.OnMedium), want)
	if err != nil {
		release(medium)
	}
	return f, err
}

// openChecked opens a file that has the wanted size and content; errors about those wrap errOther.
func openChecked(path string, want rootdesc.Root) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no %s: %w", rootdesc.OnMedium, errOther)
	}
	if err != nil {
		return nil, err
	}
	if err = checkSize(f, want.Size); err == nil {
		err = checkContent(f, want.SHA256)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", rootdesc.OnMedium, err)
	}
	return f, nil
}

func checkSize(f *os.File, want int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != want {
		return fmt.Errorf("%d bytes instead of %d: %w", st.Size(), want, errOther)
	}
	return nil
}

func checkContent(f *os.File, want string) error {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("sha256 %s instead of %s: %w", got, want, errOther)
	}
	return nil
}
