package early

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loadAll loads modules in order. One that cannot be loaded is said and passed over: whether it was needed shows
// when the root file system is mounted, and most of them are for hardware that this machine does not have.
func loadAll(paths []string, load func(path string) error, say func(string, ...any)) {
	for _, p := range paths {
		if err := load(p); err != nil {
			say("load %s: %v", filepath.Base(p), err)
		}
	}
}

// load puts one module into the kernel.
func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	flags := 0
	if compressed(path) {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return verdict(path, unix.FinitModule(int(f.Fd()), "", flags))
}

func compressed(path string) bool { return filepath.Ext(path) != ".ko" }

// verdict explains what the kernel said. It is no error when it has the module already, or when the module finds that
// it has nothing to do on this machine.
func verdict(path string, err error) error {
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENODEV):
		return nil
	case compressed(path) && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)):
		return fmt.Errorf("this kernel does not load modules with this compression; the kernel image should have them uncompressed: %w", err)
	}
	return err
}
