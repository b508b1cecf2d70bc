package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/containers/gvisor-tap-vsock/pkg/services/dhcp"
	"github.com/containers/gvisor-tap-vsock/pkg/tap"
	tapconf "github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/sirupsen/logrus"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	gatewayMAC = "5a:94:ef:e4:0c:dd"
	frameMTU   = 1500
	nicID      = 1
)

// vswitch is a segment's switch and its gateway, a network stack in this process. The gateway answers DHCP, DNS and
// pings for its own address and forwards nothing: the parts of gvisor-tap-vsock that would translate addresses and dial
// out are never installed, so no frame of a guest reaches a real network.
type vswitch struct {
	path   string
	listen net.Listener
	ports  *tap.Switch
	stack  *stack.Stack
	pool   *tap.IPPool
	dhcp   *dhcp.Server
	dns    *nameServer
	ctx    context.Context
	cancel context.CancelFunc
}

// socket starts the segment's switch when it has none, and returns its unix socket.
func (n *networks) socket(s *segment) (string, error) {
	n.mu.Lock()
	path := filepath.Join(n.dir, s.prefix.Addr().String())
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sw != nil {
		return s.sw.path, nil
	}
	sw, err := newSwitch(n.ctx, s, path)
	if err != nil {
		return "", fmt.Errorf("start network %s: %w", s.name, err)
	}
	s.sw = sw
	for mac, l := range s.byMAC {
		sw.pool.Reserve(l.ip.AsSlice(), mac)
	}
	n.logf("network %s: %s, gateway %s", s.name, s.prefix, s.gateway)
	return path, nil
}

func newSwitch(ctx context.Context, s *segment, path string) (*vswitch, error) {
	logrus.SetLevel(logrus.PanicLevel) // the module logs every machine that goes off as an error
	sw := &vswitch{path: path, ports: tap.NewSwitch(false)}
	sw.ctx, sw.cancel = context.WithCancel(ctx)
	link, err := tap.NewLinkEndpoint(false, frameMTU, gatewayMAC, s.gateway.String(), nil)
	if err != nil {
		return nil, err
	}
	link.Connect(sw.ports)
	sw.ports.Connect(link)
	if sw.stack, err = newStack(link, netip.PrefixFrom(s.gateway, s.prefix.Bits())); err != nil {
		return nil, err
	}
	_, subnet, err := net.ParseCIDR(s.prefix.String())
	if err != nil {
		return nil, err
	}
	sw.pool = tap.NewIPPool(subnet)
	sw.pool.Reserve(s.gateway.AsSlice(), gatewayMAC)
	if sw.dhcp, err = dhcp.New(&tapconf.Configuration{MTU: frameMTU, Subnet: s.prefix.String(), GatewayIP: s.gateway.String(),
		GatewayMacAddress: gatewayMAC, DNSSearchDomains: []string{Domain}}, sw.stack, sw.pool); err != nil {
		return nil, err
	}
	if sw.dns, err = newNameServer(sw.stack, s); err != nil {
		return nil, err
	}
	if sw.listen, err = (&net.ListenConfig{}).Listen(ctx, "unix", path); err != nil {
		return nil, err
	}
	go func() { _ = sw.dhcp.Serve() }() // ends with its connection
	go sw.accept()
	return sw, nil
}

// newStack is a network stack with one address, without forwarding, spoofing or promiscuous mode.
func newStack(link stack.LinkEndpoint, self netip.Prefix) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := s.CreateNIC(nicID, link); err != nil {
		return nil, errors.New(err.String())
	}
	addr := tcpip.AddrFromSlice(self.Addr().AsSlice())
	if err := s.AddProtocolAddress(nicID, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: addr, PrefixLen: self.Bits()}}, stack.AddressProperties{}); err != nil {
		return nil, errors.New(err.String())
	}
	subnet, err := tcpip.NewSubnet(tcpip.AddrFromSlice(self.Masked().Addr().AsSlice()), tcpip.MaskFromBytes(net.CIDRMask(self.Bits(), 32)))
	if err != nil {
		return nil, err
	}
	s.SetRouteTable([]tcpip.Route{{Destination: subnet, NIC: nicID}})
	return s, nil
}

func (sw *vswitch) accept() {
	for {
		c, err := sw.listen.Accept()
		if err != nil {
			return // closed
		}
		go func() { _ = sw.ports.Accept(sw.ctx, newPort(c), tapconf.QemuProtocol) }() // ends when the machine does
	}
}

// dial connects to a guest from the gateway.
func (sw *vswitch) dial(ctx context.Context, ip netip.Addr, port uint16) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, sw.stack, tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFromSlice(ip.AsSlice()), Port: port}, ipv4.ProtocolNumber)
}

func (sw *vswitch) close() {
	sw.cancel()
	_ = sw.listen.Close()
	_ = os.Remove(sw.path)
	_ = sw.dhcp.Underlying.Close()
	sw.dns.close()
	sw.stack.Close()
}

// port is a machine's end of the switch. Frames to a machine that does not read (its network card has no driver yet)
// are dropped, as a switch does: the module would stop the whole network until somebody reads.
type port struct {
	net.Conn
	queue chan []byte
	gone  chan struct{}
}

// queued frames per machine: about a megabyte.
const queued = 700

func newPort(c net.Conn) *port {
	p := &port{Conn: c, queue: make(chan []byte, queued), gone: make(chan struct{})}
	go p.drain()
	return p
}

func (p *port) Write(b []byte) (int, error) {
	frame := make([]byte, len(b))
	copy(frame, b)
	select {
	case <-p.gone:
		return 0, io.ErrClosedPipe
	case p.queue <- frame:
	default:
	}
	return len(b), nil
}

func (p *port) drain() {
	defer close(p.gone)
	for b := range p.queue {
		if b == nil {
			return
		}
		if _, err := p.Conn.Write(b); err != nil {
			return
		}
	}
}

// Close ends the connection; the nil frame ends drain when it waits.
func (p *port) Close() error {
	select {
	case p.queue <- nil:
	default:
	}
	return p.Conn.Close()
}
