package lab

import (
	"errors"
	"net"
	"strings"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Domain is the DNS domain of every segment: a VM is known as <name> and <name>.lab.internal.
const Domain = "lab.internal"

// ttl of an answer, in seconds.
const ttl = 5

// nameServer answers for VMs of one segment, and "no such name" for everything else: it asks nobody.
type nameServer struct {
	s       *segment
	servers []*dns.Server
}

func newNameServer(st *stack.Stack, s *segment) (*nameServer, error) {
	at := tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFromSlice(s.gateway.AsSlice()), Port: 53}
	packets, err := gonet.DialUDP(st, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	streams, err := gonet.ListenTCP(st, at, ipv4.ProtocolNumber)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	n := &nameServer{s: s}
	n.servers = []*dns.Server{{PacketConn: packets, Handler: n}, {Listener: streams, Handler: n}}
	for _, srv := range n.servers {
		go func() { _ = srv.ActivateAndServe() }() // ends when its socket does
	}
	return n, nil
}

// ServeDNS answers one question.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	for _, question := range q.Question {
		name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(question.Name), "."), "."+Domain)
		ip := n.s.address(name)
		if name == "gateway" {
			ip = n.s.gateway
		}
		switch {
		case !ip.IsValid():
			m.Rcode = dns.RcodeNameError
		case question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY:
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.IP(ip.AsSlice())})
		}
	}
	_ = w.WriteMsg(m) // the guest asks again
}

func (n *nameServer) close() {
	for _, s := range n.servers {
		if s.PacketConn != nil {
			_ = s.PacketConn.Close()
		}
		if s.Listener != nil {
			_ = s.Listener.Close()
		}
	}
}
