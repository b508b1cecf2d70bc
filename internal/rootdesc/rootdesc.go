// Package rootdesc is what lkv build tells the first program of the guest about the root file system, when that is
// not the unpacked initrd itself: where the squashfs lies and what the kernel needs to mount it.
package rootdesc

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
)

// Paths in the early initrd.
const (
	Path     = "/.lkv/root.json"     // JSON of Root; without it the initrd is the root file system
	Squashfs = "/.lkv/root.squashfs" // the root file system of ModeSquashfs
)

// OnMedium is the path of the squashfs on the ISO of ModeCD, without a leading slash.
const OnMedium = "lkv/root.squashfs"

// Modes of Root.
const (
	ModeSquashfs = "squashfs" // the squashfs is a file of the initrd
	ModeCD       = "cd"       // it is a file of the ISO, which stays in use
)

// Root describes the root file system.
type Root struct {
	Mode    string   `json:"mode"`
	Volume  string   `json:"volume,omitempty"` // ModeCD: volume ID of the medium it lies on
	SHA256  string   `json:"sha256,omitempty"` // ModeCD: of the squashfs, 64 lower-case hex digits
	Memory  int64    `json:"memory,omitempty"` // usable memory (MemTotal) below which the guest does not go on, bytes
	Size    int64    `json:"size"`             // of the squashfs, bytes
	Modules []string `json:"modules"`          // absolute paths of kernel modules in the initrd, in the order to load them
	Init    string   `json:"init"`             // program of the root file system that becomes PID 1, for example "/sbin/init"
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Parse reads the JSON of Path and refuses what nobody could mount.
func Parse(text []byte) (Root, error) {
	var r Root
	if err := json.Unmarshal(text, &r); err != nil {
		return Root{}, fmt.Errorf("read description of the root file system: %w", err)
	}
	bad := func(format string, args ...any) (Root, error) {
		return Root{}, fmt.Errorf("read description of the root file system: "+format, args...)
	}
	switch {
	case r.Mode != ModeSquashfs && r.Mode != ModeCD:
		return bad("unknown mode %q", r.Mode)
	case r.Mode == ModeCD && r.Volume == "":
		return bad("mode %s without a volume ID", r.Mode)
	case r.Mode == ModeCD && !digest.MatchString(r.SHA256):
		return bad("sha256 %q is not 64 lower-case hex digits", r.SHA256)
	case r.Size <= 0:
		return bad("size %d", r.Size)
	}
	for _, p := range append([]string{r.Init}, r.Modules...) {
		if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
			return bad("%q is not a clean absolute path", p)
		}
	}
	return r, nil
}
