package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
)

// networks are the lab's segments: one per network name, shared by all datacenters that have a network of that name.
type networks struct {
	ctx  context.Context
	logf func(string, ...any)

	mu       sync.Mutex
	dir      string // of the switches' sockets; short, because a unix socket's path has at most 107 bytes
	segments map[string]*segment
}

// segment is one network: a /24 with a gateway that serves DHCP and DNS.
type segment struct {
	name    string
	prefix  netip.Prefix
	gateway netip.Addr

	mu    sync.Mutex
	byMAC map[string]lease
	sw    *vswitch // nil until a machine is plugged in

	forwards map[netip.AddrPort]string // guest address -> loopback address
}

// lease is one network card's address, kept as long as the lab runs.
type lease struct {
	ip netip.Addr
	vm string
}

func newNetworks(ctx context.Context, logf func(string, ...any)) (*networks, error) {
	dir, err := os.MkdirTemp("", "lkv-net-")
	if err != nil {
		return nil, err
	}
	return &networks{ctx: ctx, logf: logf, dir: dir, segments: map[string]*segment{}}, nil
}

// segment returns the segment of that name, made when it is first needed.
func (n *networks) segment(name string) (*segment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.segments[name]; s != nil {
		return s, nil
	}
	third := 127 + len(n.segments)
	if third > 255 {
		return nil, errors.New("too many networks")
	}
	p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 24)
	s := &segment{name: name, prefix: p, gateway: p.Addr().Next(), byMAC: map[string]lease{}}
	n.segments[name] = s
	return s, nil
}

// plug gives a VM's network card its address.
func (n *networks) plug(nic nicView, vm string) (BootNIC, error) {
	s, err := n.segment(nic.network)
	if err != nil {
		return BootNIC{}, err
	}
	ip, err := s.lease(nic.mac, vm)
	if err != nil {
		return BootNIC{}, err
	}
	return BootNIC{MAC: nic.mac, Model: nic.model, Network: nic.network, IP: ip.String(),
		Plug: func() (string, error) { return n.socket(s) }}, nil
}

// lease returns the address of a network card; the same card gets the same address again.
func (s *segment) lease(mac, vm string) (netip.Addr, error) {
	mac = strings.ToLower(mac) // as the DHCP server writes it
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.byMAC[mac]; ok {
		s.byMAC[mac] = lease{l.ip, vm}
		return l.ip, nil
	}
	used := map[netip.Addr]bool{s.gateway: true}
	for _, l := range s.byMAC {
		used[l.ip] = true
	}
	for ip := s.gateway.Next(); s.prefix.Contains(ip.Next()); ip = ip.Next() {
		if !used[ip] {
			s.byMAC[mac] = lease{ip, vm}
			if s.sw != nil {
				s.sw.pool.Reserve(ip.AsSlice(), mac)
			}
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("network %s has no address left", s.name)
}

// address of a VM by name; the zero Addr when it has none here.
func (s *segment) address(vm string) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.byMAC {
		if strings.EqualFold(l.vm, vm) {
			return l.ip
		}
	}
	return netip.Addr{}
}

func (n *networks) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.segments {
		s.mu.Lock()
		if s.sw != nil {
			s.sw.close()
		}
		s.mu.Unlock()
	}
	_ = os.RemoveAll(n.dir)
}
