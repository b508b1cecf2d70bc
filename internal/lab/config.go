package lab

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// Sizes in bytes.
const (
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// Config describes a lab. Dir and Driver are required; everything else has a default.
type Config struct {
	Dir         string       // datastores, VM directories and certificates; made when missing, kept but for machines/
	Datacenters []Datacenter // default: DefaultDatacenters(3)
	Driver      Driver       // Paper or QEMU
	Listen      string       // default "127.0.0.1:0"; an address of this machine only
	Username    string       // default "administrator@lab.local"
	Password    string       // default "lab"
	Log         io.Writer    // one line per event; default: nothing is written

	// GuestinfoBumps makes a guest's report change config.changeVersion. Whether a real vCenter does that is unknown,
	// so a reconciler must work with both.
	GuestinfoBumps bool

	// HostFiles makes every host take uploads itself, on a port of its own and with its own certificate.
	HostFiles bool

	// TaskDelay is how long every task waits before it starts to work.
	TaskDelay time.Duration
}

// Datacenter is one datacenter. Its network names are shared by all datacenters: equal names are one segment.
type Datacenter struct {
	Name       string // unique in the lab. Slashes and percent signs are written as vCenter does: "%2f", "%25"
	Folder     string // inventory folders that it lies in, from the root, for example "Europe/North"; empty: none
	Clusters   []Cluster
	Datastores []Datastore
	Networks   []string // default: "VM Network", which every datacenter has
}

// Cluster is one cluster of hosts, named <cluster>-host1 and so on.
type Cluster struct {
	Name  string
	Hosts int
}

// Datastore is one datastore, a directory under Config.Dir.
type Datastore struct {
	Name     string
	Capacity int64    // bytes; default 1 TiB. Nothing is allocated: files are sparse
	Hosts    []string // names of the hosts that mount it; empty: every host of the datacenter
	NFS      bool     // type "NFS"; else "VMFS"
	VSAN     bool     // type "vsan": top folders are namespace objects, and are made in no other way
	Pod      string   // datastore cluster that it belongs to; empty: none
	Same     string   // "<datacenter>/<datastore>" built before, whose storage this one is; empty: its own
}

// DefaultDatacenters returns DC1 and DC2, each with a cluster C1 of that many hosts, a store for ISO files "iso-nfs" and
// datastores "vm-1" and "vm-2" for VMs, all shared by the datacenter's hosts.
func DefaultDatacenters(hosts int) []Datacenter {
	var all []Datacenter
	for _, name := range []string{"DC1", "DC2"} {
		all = append(all, Datacenter{
			Name: name, Clusters: []Cluster{{"C1", hosts}}, Networks: []string{defaultNetwork},
			Datastores: []Datastore{{Name: "iso-nfs", NFS: true}, {Name: "vm-1"}, {Name: "vm-2"}},
		})
	}
	return all
}

const defaultNetwork = "VM Network"

// HostName is the name of the nth host (from 1) of a cluster in a datacenter.
func HostName(dc, cluster string, n int) string { return fmt.Sprintf("%s-%s-host%d", dc, cluster, n) }

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" || c.Driver == nil {
		return c, errors.New("a lab needs a directory and a driver")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	c.Username = cmp.Or(c.Username, "administrator@lab.local")
	c.Password = cmp.Or(c.Password, "lab")
	if c.Log == nil {
		c.Log = io.Discard
	}
	if len(c.Datacenters) == 0 {
		c.Datacenters = DefaultDatacenters(3)
	}
	c.Datacenters = slices.Clone(c.Datacenters)
	seen := map[string]bool{}
	for i := range c.Datacenters {
		d := &c.Datacenters[i]
		if d.Name == "" || filepath.Base(d.Name) != d.Name || seen[d.Name] {
			return c, fmt.Errorf("datacenter name %q is empty, taken or has a slash", d.Name)
		}
		seen[d.Name] = true
		if err := d.check(); err != nil {
			return c, fmt.Errorf("datacenter %s: %w", d.Name, err)
		}
	}
	return c, nil
}

// check fills the defaults of a datacenter and refuses what the simulator would not survive.
func (d *Datacenter) check() error {
	hosts := d.hosts()
	if len(hosts) == 0 {
		return errors.New("no hosts")
	}
	d.Datastores = slices.Clone(d.Datastores)
	seen := map[string]bool{}
	for i := range d.Datastores {
		s := &d.Datastores[i]
		if s.Name == "" || filepath.Base(s.Name) != s.Name || seen[s.Name] {
			return fmt.Errorf("datastore name %q is empty, taken or has a slash", s.Name)
		}
		seen[s.Name] = true
		s.Capacity = cmp.Or(s.Capacity, tib)
		if len(s.Hosts) == 0 {
			s.Hosts = hosts
		}
		for _, h := range s.Hosts {
			if !slices.Contains(hosts, h) {
				return fmt.Errorf("datastore %s: no host %q; hosts are %q", s.Name, h, hosts)
			}
		}
	}
	return nil
}

func (d *Datacenter) hosts() []string {
	var names []string
	for _, c := range d.Clusters {
		for n := range c.Hosts {
			names = append(names, HostName(d.Name, c.Name, n+1))
		}
	}
	return names
}
