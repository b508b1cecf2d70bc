// Package guestinfo reads and writes the variables that host and guest share. On VMware they go through the
// hypervisor's back door; in QEMU they are read from fw_cfg files, and nothing can be written.
package guestinfo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/vmware/vmw-guestinfo/rpcout"
	"github.com/vmware/vmw-guestinfo/vmcheck"
)

// fwCfg is where the kernel module qemu_fw_cfg shows the host's files by name.
const fwCfg = "/sys/firmware/qemu_fw_cfg/by_name"

// Get returns the value of a variable, for example report.TokenKey, and whether the host set one.
func Get(key string) (value string, ok bool) {
	if VMware() {
		value, ok, err := send("info-get " + key)
		return value, ok && err == nil && value != ""
	}
	return FromFirmware(fwCfg, key)
}

// FromFirmware reads the fw_cfg file of a variable below dir.
func FromFirmware(dir, key string) (value string, ok bool) {
	data, err := os.ReadFile(filepath.Join(dir, report.FwCfgPrefix+key, "raw"))
	if err != nil {
		return "", false
	}
	return strings.TrimRight(string(data), "\x00"), true
}

// Set publishes a variable on VMware. Elsewhere it does nothing.
func Set(key, value string) error {
	if !VMware() {
		return nil
	}
	reply, ok, err := send("info-set " + key + " " + value)
	if err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	if !ok {
		return fmt.Errorf("set %s: the hypervisor refused: %s", key, reply)
	}
	return nil
}

// VMware tells whether the hypervisor is VMware's. It only executes CPUID: the back door's port must not be touched
// before that is known, as user-mode port access kills the process on any other machine.
func VMware() bool { return vmcheck.IsVirtualCPU() }

// send makes one call. The module indexes an empty reply without looking, hence the recover: a panic here would
// take PID 1 down, and the machine with it.
func send(request string) (reply string, ok bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("back door: %v", r)
		}
	}()
	data, ok, err := rpcout.SendOneRaw([]byte(request))
	if err != nil {
		return "", false, fmt.Errorf("back door: %w", err)
	}
	return string(data), ok, nil
}
