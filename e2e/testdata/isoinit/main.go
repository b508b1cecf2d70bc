// Command isoinit is the whole user land of the ISO tests: it says what the kernel was given and powers off.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

func main() {
	for _, m := range []struct{ dir, kind string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/sys/kernel/security", "securityfs"}} {
		_ = os.MkdirAll(m.dir, 0o755)
		if err := syscall.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			fmt.Printf("mount %s: %v\n", m.dir, err)
		}
	}
	fmt.Printf("\nLKV-E2E payload=%x lockdown=%q cmdline=%q\n", sha256.Sum256([]byte(read("/payload"))),
		strings.TrimSpace(read("/sys/kernel/security/lockdown")), strings.TrimSuffix(read("/proc/cmdline"), "\n"))
	time.Sleep(100 * time.Millisecond) // the serial port's last bytes
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
