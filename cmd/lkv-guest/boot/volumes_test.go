package boot

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVolumes mounts volumes in a mount namespace of its own: the test starts itself in one.
func TestVolumes(t *testing.T) {
	if dir := os.Getenv("LKV_TEST_VOLUMES"); dir != "" {
		volumesInside(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVolumes$", "-test.v")
	cmd.Env = append(os.Environ(), "LKV_TEST_VOLUMES="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestVolumes") {
		t.Errorf("%v\n%s", err, out)
	}
}

func volumesInside(t *testing.T, dir string) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	// An overlay cannot lie on every file system a test's directory may be on; on a tmpfs it can.
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	v := dir + "/volumes"
	write(t, v+"/data/lower/x", "image", 0o644)
	write(t, v+"/fixed/lower/x", "image", 0o644)
	for _, d := range []string{"/data/merged", "/data/tmp", "/fixed/merged"} {
		if err := os.MkdirAll(v+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(v+"/data/lower", 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := volumes(v); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"data", "fixed"} {
		if got, err := os.ReadFile(v + "/" + n + "/merged/x"); err != nil || string(got) != "image" {
			t.Errorf("%s: %q, %v", n, got, err)
		}
	}
	if err := os.WriteFile(v+"/data/merged/x", []byte("new"), 0o644); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(v + "/data/lower/x"); err != nil || string(got) != "image" {
		t.Errorf("a write reached the image: %q, %v", got, err)
	}
	if st, err := os.Stat(v + "/data/merged"); err != nil || st.Mode()&os.ModeSticky == 0 || st.Mode().Perm() != 0o777 {
		t.Errorf("the volume does not look like its image: %v, %v", st.Mode(), err)
	}
	if err := os.WriteFile(v+"/fixed/merged/x", []byte("new"), 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("a read-only volume takes a write: %v", err)
	}
}

func TestVolumesNone(t *testing.T) {
	if err := volumes(t.TempDir() + "/none"); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	write(t, dir+"/odd/file", "", 0o644)
	if err := volumes(dir); err == nil || !strings.Contains(err.Error(), "volume odd") {
		t.Errorf("a volume without its directories: %v", err)
	}
}
