// Package container runs LinuxKit's container bundles through runc: a directory with config.json (the OCI runtime
// specification) and runtime.json (what has to be prepared outside of the container).
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultGrace is the time between SIGTERM and SIGKILL without the annotation report.Grace.
const DefaultGrace = 10 * time.Second

// maxGrace bounds the annotation, so that a typing error cannot keep a machine from going off.
const maxGrace = 10 * time.Minute

// Bundle is one container of the image.
type Bundle struct {
	Name    string // name of the directory: "000-dhcp" for an onboot entry, "docker" for a service
	Dir     string // absolute
	Spec    specs.Spec
	Runtime Runtime
}

// Runtime is runtime.json as LinuxKit writes it.
type Runtime struct {
	Cgroups    []string      `json:"cgroups,omitempty"`    // cgroups to make
	Mounts     []specs.Mount `json:"mounts,omitempty"`     // to make in the machine, in order
	Mkdir      []string      `json:"mkdir,omitempty"`      // directories to make
	Interfaces []Interface   `json:"interfaces,omitempty"` // network interfaces to give to the container
	BindNS     Namespaces    `json:"bindNS"`               // files on which to keep the container's namespaces
	Namespace  string        `json:"namespace,omitempty"`  // containerd's; without meaning for runc
}

// Interface is a network interface to move into the container's network namespace, made first when Add is set.
type Interface struct {
	Name         string `json:"name,omitempty"`
	Add          string `json:"add,omitempty"`  // link type to make: "veth", "dummy", …
	Peer         string `json:"peer,omitempty"` // other end of a veth, stays in the machine
	CreateInRoot bool   `json:"createInRoot"`   // make it in the machine's namespace first, then move it
}

// Namespaces are absolute paths; an empty one is not bound.
type Namespaces struct {
	Cgroup string `json:"cgroup,omitempty"`
	IPC    string `json:"ipc,omitempty"`
	Mnt    string `json:"mnt,omitempty"`
	Net    string `json:"net,omitempty"`
	PID    string `json:"pid,omitempty"`
	User   string `json:"user,omitempty"`
	UTS    string `json:"uts,omitempty"`
}

// Load reads the bundle in dir. A missing runtime.json means that nothing is to be prepared.
func Load(dir string) (Bundle, error) {
	b := Bundle{Name: filepath.Base(dir), Dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return b, fmt.Errorf("read bundle: %w", err)
	}
	if err := json.Unmarshal(data, &b.Spec); err != nil {
		return b, fmt.Errorf("read bundle %s: config.json: %w", b.Name, err)
	}
	data, err = os.ReadFile(filepath.Join(dir, "runtime.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read bundle: %w", err)
	}
	if b.Runtime, err = ParseRuntime(data); err != nil {
		return b, fmt.Errorf("read bundle %s: %w", b.Name, err)
	}
	return b, nil
}

// ParseRuntime reads runtime.json.
func ParseRuntime(data []byte) (Runtime, error) {
	var r Runtime
	if err := json.Unmarshal(data, &r); err != nil {
		return Runtime{}, fmt.Errorf("read runtime.json: %w", err)
	}
	for _, i := range r.Interfaces {
		if i.Name == "" {
			return Runtime{}, fmt.Errorf("read runtime.json: an interface has no name")
		}
		if i.Add == "veth" && i.Peer == "" {
			return Runtime{}, fmt.Errorf("read runtime.json: veth %s has no peer", i.Name)
		}
	}
	return r, nil
}

// Required tells whether the failure of this onboot container stops the boot.
func (b Bundle) Required() bool { return b.flag(report.Required) }

// Always tells whether this service is started even after a stopped boot.
func (b Bundle) Always() bool { return b.flag(report.Always) }

func (b Bundle) flag(annotation string) bool {
	v, err := strconv.ParseBool(b.Spec.Annotations[annotation])
	return err == nil && v
}

// Grace is the time the container gets between SIGTERM and SIGKILL.
func (b Bundle) Grace() time.Duration {
	n, err := strconv.Atoi(b.Spec.Annotations[report.Grace])
	if err != nil || n < 0 {
		return DefaultGrace
	}
	return min(time.Duration(n)*time.Second, maxGrace)
}
