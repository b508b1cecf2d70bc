package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// peer is a guest of a test: a network card on a segment's socket, first with raw frames, then with a stack.
type peer struct {
	t    *testing.T
	mac  net.HardwareAddr
	conn net.Conn
	ip   netip.Addr
	gw   netip.Addr
	st   *stack.Stack
}

func newPeer(t *testing.T, n *networks, vm, mac string) *peer {
	t.Helper()
	nic, err := n.plug(nicView{mac: strings.ToUpper(mac), model: "vmxnet3", network: "VM Network"}, vm)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := nic.Plug()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := &peer{t: t, conn: c}
	if p.mac, err = net.ParseMAC(mac); err != nil {
		t.Fatal(err)
	}
	p.dhcp()
	if p.ip.String() != nic.IP {
		t.Errorf("%s: DHCP gives %s, the lab says %s", vm, p.ip, nic.IP)
	}
	p.up()
	return p
}

func (p *peer) send(frame []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
	_, _ = p.conn.Write(append(b, frame...)) // the reader notices a closed connection
}

func (p *peer) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(p.conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(p.conn, b)
	return b, err
}

// dhcp runs discover, offer, request, ack.
func (p *peer) dhcp() {
	p.t.Helper()
	discover, err := dhcpv4.NewDiscovery(p.mac)
	if err != nil {
		p.t.Fatal(err)
	}
	offer := p.exchange(discover)
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		p.t.Fatal(err)
	}
	ack := p.exchange(request)
	p.ip, _ = netip.AddrFromSlice(ack.YourIPAddr.To4())
	p.gw, _ = netip.AddrFromSlice(ack.Router()[0].To4())
}

func (p *peer) exchange(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	p.t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4zero, DstIP: net.IPv4bcast}
	udp := &layers.UDP{SrcPort: 68, DstPort: 67}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		p.t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: p.mac, DstMAC: net.HardwareAddr{255, 255, 255, 255, 255, 255}, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(m.ToBytes())); err != nil {
		p.t.Fatal(err)
	}
	p.send(buf.Bytes())
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	defer func() { _ = p.conn.SetReadDeadline(time.Time{}) }()
	for {
		frame, err := p.receive()
		if err != nil {
			p.t.Fatalf("no DHCP answer: %v", err)
		}
		packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		u, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || u.DstPort != 68 {
			continue
		}
		if reply, err := dhcpv4.FromBytes(u.Payload); err == nil && reply.TransactionID == m.TransactionID {
			return reply
		}
	}
}

// up puts a network stack with the leased address on the card.
func (p *peer) up() {
	p.t.Helper()
	ch := channel.New(256, frameMTU, tcpip.LinkAddress(p.mac))
	st, err := newStack(ethernet.New(ch), netip.PrefixFrom(p.ip, 24))
	if err != nil {
		p.t.Fatal(err)
	}
	p.st = st
	st.AddRoute(tcpip.Route{Destination: mustSubnet("0.0.0.0/0"), Gateway: tcpip.AddrFromSlice(p.gw.AsSlice()), NIC: nicID})
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(func() { cancel(); st.Close() })
	go func() {
		for {
			pkt := ch.ReadContext(ctx)
			if pkt == nil {
				return
			}
			p.send(pkt.ToView().AsSlice())
			pkt.DecRef()
		}
	}()
	go func() {
		for {
			frame, err := p.receive()
			if err != nil {
				return
			}
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
			ch.InjectInbound(0, pkt)
			pkt.DecRef()
		}
	}()
}

func mustSubnet(s string) tcpip.Subnet {
	pre := netip.MustParsePrefix(s)
	n, err := tcpip.NewSubnet(tcpip.AddrFromSlice(pre.Addr().AsSlice()), tcpip.MaskFromBytes(net.CIDRMask(pre.Bits(), 32)))
	if err != nil {
		panic(err)
	}
	return n
}

func (p *peer) at(ip netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFromSlice(ip.AsSlice()), Port: port}
}

// resolve asks the gateway's name server.
func (p *peer) resolve(name string) (netip.Addr, int) {
	p.t.Helper()
	to := p.at(p.gw, 53)
	c, err := gonet.DialUDP(p.st, nil, &to, ipv4.ProtocolNumber)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(q); err != nil {
		p.t.Fatal(err)
	}
	m, err := conn.ReadMsg()
	if err != nil {
		p.t.Fatalf("resolve %s: %v", name, err)
	}
	if len(m.Answer) == 0 {
		return netip.Addr{}, m.Rcode
	}
	ip, _ := netip.AddrFromSlice(m.Answer[0].(*dns.A).A.To4())
	return ip, m.Rcode
}

// serve answers every connection with a greeting and the echo of what it gets.
func (p *peer) serve(port uint16) {
	p.t.Helper()
	l, err := gonet.ListenTCP(p.st, p.at(p.ip, port), ipv4.ProtocolNumber)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
}

func echo(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text := strings.Repeat("hello ", 10000)
	go func() { _, _ = io.WriteString(c, text) }()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Errorf("echo: %d bytes differ, %v", len(b), err)
	}
}

// TestSegment: two guests get their addresses by DHCP, find each other by name, talk, are reachable from this machine
// through a forward, and reach nothing else.
func TestSegment(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := newNetworks(ctx, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	a, b := newPeer(t, n, "Wrk-A", "00:50:56:00:00:0a"), newPeer(t, n, "wrk-b", "00:50:56:00:00:0b")
	if a.ip == b.ip || a.gw.String() != "192.168.127.1" {
		t.Fatalf("addresses %s and %s, gateway %s", a.ip, b.ip, a.gw)
	}
	for name, want := range map[string]netip.Addr{"wrk-b": b.ip, "WRK-B.lab.internal": b.ip, "wrk-a": a.ip, "gateway": a.gw, "example.com": {}} {
		if ip, code := a.resolve(name); ip != want || (code == dns.RcodeNameError) == want.IsValid() {
			t.Errorf("%s is %s (code %d), want %s", name, ip, code, want)
		}
	}
	b.serve(80)
	c, err := gonet.DialContextTCP(ctx, a.st, a.at(b.ip, 80), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatalf("a to b: %v", err)
	}
	echo(t, c)
	addr, err := n.forward(ctx, nicView{mac: "00:50:56:00:00:0B", network: "VM Network"}, "wrk-b", 80)
	if err != nil {
		t.Fatal(err)
	}
	again, err := n.forward(ctx, nicView{mac: "00:50:56:00:00:0B", network: "VM Network"}, "wrk-b", 80)
	if err != nil || again != addr || !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Errorf("forwards %s and %s, %v", addr, again, err)
	}
	host, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, host)
	// 198.51.100.0/24 is for documentation. A gateway that dialled out would answer with a reset.
	out, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer stop()
	if _, err := gonet.DialContextTCP(out, a.st, a.at(netip.MustParseAddr("198.51.100.1"), 80), ipv4.ProtocolNumber); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connection to the outside: %v, want no answer at all", err)
	}
}

// TestDeafGuest: a machine that does not read its frames does not stop the others.
func TestDeafGuest(t *testing.T) {
	n, err := newNetworks(t.Context(), func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	nic, err := n.plug(nicView{mac: "00:50:56:00:00:0d", network: "VM Network"}, "deaf")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := nic.Plug()
	if err != nil {
		t.Fatal(err)
	}
	deaf, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	a, b := newPeer(t, n, "a", "00:50:56:00:00:0a"), newPeer(t, n, "b", "00:50:56:00:00:0b")
	storm := append([]byte{255, 255, 255, 255, 255, 255}, a.mac...)
	storm = append(storm, make([]byte, 1400)...)
	for range 3000 {
		a.send(storm)
	}
	b.serve(80)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, a.st, a.at(b.ip, 80), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c)
}
