package qemu

import (
	"bytes"
	"os"
)

// KVM tells whether the CPU offers hardware virtualisation to this machine and the device can be opened.
// The CPU flag is what counts: the device node also exists where a guest then hangs.
func KVM() bool {
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !flagged(cpu) {
		return false
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// flagged reports whether a flags line of /proc/cpuinfo names Intel's or AMD's virtualisation extension.
func flagged(cpuinfo []byte) bool {
	for line := range bytes.Lines(cpuinfo) {
		if !bytes.HasPrefix(line, []byte("flags")) {
			continue
		}
		for _, f := range bytes.Fields(line) {
			if string(f) == "vmx" || string(f) == "svm" {
				return true
			}
		}
	}
	return false
}
