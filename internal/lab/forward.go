package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// dialTimeout bounds the connection from a forward to its guest.
const dialTimeout = 30 * time.Second

// Forward opens a port of this machine's loopback that leads to a port of a VM's first network card, and returns its
// address. The forward lasts until the lab closes, over power cycles of the VM; asked again, it returns the same one.
// A connection fails while the guest does not listen. ctx bounds nothing but the call.
func (l *Lab) Forward(ctx context.Context, vm string, port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("forward to %s: port %d is out of range", vm, port)
	}
	v, err := l.find(vm)
	if err != nil {
		return "", fmt.Errorf("forward: %w", err)
	}
	if len(v.nics) == 0 {
		return "", fmt.Errorf("forward to %s: it has no network card", vm)
	}
	addr, err := l.net.forward(ctx, v.nics[0], vm, uint16(port))
	if err != nil {
		return "", fmt.Errorf("forward to %s: %w", vm, err)
	}
	return addr, nil
}

func (n *networks) forward(ctx context.Context, nic nicView, vm string, port uint16) (string, error) {
	s, err := n.segment(nic.network)
	if err != nil {
		return "", err
	}
	ip, err := s.lease(nic.mac, vm)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sw == nil {
		return "", errors.New("no machine was ever plugged into network " + s.name)
	}
	to := netip.AddrPortFrom(ip, port)
	if at := s.forwards[to]; at != "" {
		return at, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(n.ctx, func() { _ = listener.Close() })
	go serveForward(n.ctx, listener, s.sw, to)
	if s.forwards == nil {
		s.forwards = map[netip.AddrPort]string{}
	}
	s.forwards[to] = listener.Addr().String()
	return s.forwards[to], nil
}

func serveForward(ctx context.Context, listener net.Listener, sw *vswitch, to netip.AddrPort) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return // closed
		}
		go carry(ctx, c, sw, to)
	}
}

// carry copies both ways until both directions have ended. A direction that ends closes the other side's input, so that
// protocols that end one direction first work.
func carry(ctx context.Context, c net.Conn, sw *vswitch, to netip.AddrPort) {
	defer c.Close()
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	guest, err := sw.dial(dctx, to.Addr(), to.Port())
	if err != nil {
		return // the client sees its connection closed
	}
	defer guest.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close(); _ = guest.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(guest, c)
	}()
	pipe(c, guest)
	<-done
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // either end may go away at any time
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
