package container

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// connect does what runtime.json asks for between create and start, when the namespaces exist and nothing runs yet.
func (b Bundle) connect(pid int) error {
	for _, i := range b.Runtime.Interfaces {
		if err := i.give(pid); err != nil {
			return fmt.Errorf("give interface %s to %s: %w", i.Name, b.Name, err)
		}
	}
	n := b.Runtime.BindNS
	for kind, path := range map[string]string{
		"cgroup": n.Cgroup, "ipc": n.IPC, "mnt": n.Mnt, "net": n.Net, "pid": n.PID, "user": n.User, "uts": n.UTS,
	} {
		if path == "" {
			continue
		}
		if err := bindNamespace(pid, kind, path); err != nil {
			return fmt.Errorf("keep %s namespace of %s: %w", kind, b.Name, err)
		}
	}
	return nil
}

func bindNamespace(pid int, kind, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind on %s: %w", path, err)
	}
	return nil
}

// give makes the interface if asked and moves it into the network namespace of pid.
func (i Interface) give(pid int) error {
	if i.Add != "" {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = i.Name
		if !i.CreateInRoot {
			attrs.Namespace = netlink.NsPid(pid)
		}
		if err := netlink.LinkAdd(i.link(attrs)); err != nil {
			return fmt.Errorf("make %s link: %w", i.Add, err)
		}
		if !i.CreateInRoot {
			return nil
		}
	}
	link, err := netlink.LinkByName(i.Name)
	if err != nil {
		return fmt.Errorf("find link: %w", err)
	}
	if err := netlink.LinkSetNsPid(link, pid); err != nil {
		return fmt.Errorf("move link: %w", err)
	}
	return nil
}

func (i Interface) link(attrs netlink.LinkAttrs) netlink.Link {
	if i.Add != "veth" {
		return &netlink.GenericLink{LinkAttrs: attrs, LinkType: i.Add}
	}
	v := &netlink.Veth{LinkAttrs: attrs, PeerName: i.Peer}
	if !i.CreateInRoot {
		v.PeerNamespace = netlink.NsPid(os.Getpid())
	}
	return v
}
