package lab

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// hostFiles are the file servers of the hosts: PUT with a ticket from vCenter, good for one request.
type hostFiles struct {
	servers []*http.Server

	mu      sync.Mutex
	tickets map[string]string // by ID: method and URL
}

// serveHosts starts a file server for every host, each with a certificate of its own, and tells vCenter about them.
func (l *Lab) serveHosts(ctx context.Context) error {
	l.hosts.tickets = map[string]string{}
	for _, d := range l.inv.datacenters {
		for name, ref := range d.hosts {
			cert, err := selfSigned(name)
			if err != nil {
				return fmt.Errorf("make certificate of %s: %w", name, err)
			}
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			s := &http.Server{Handler: l.hostHandler(d, name), ErrorLog: log.New(io.Discard, "", 0), //nolint:gosec // as vCenter's
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
			l.hosts.servers = append(l.hosts.servers, s)
			go func() { _ = s.ServeTLS(listener, "", "") }()   // ends with ErrServerClosed
			port := int32(listener.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert,gosec // it listens on TCP
			l.update(ref, types.PropertyChange{Name: "summary.config.port", Val: port},
				types.PropertyChange{Name: "summary.config.sslThumbprint", Val: thumbprint(cert)})
			l.setCertificate(ref, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
		}
	}
	return nil
}

func (h *hostFiles) close() error {
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// hostHandler is the file server of one host. It knows its own datastores only.
func (l *Lab) hostHandler(d *datacenter, host string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("vmware_cgi_ticket")
		if err != nil || !l.hosts.redeem(c.Value, "http"+r.Method, r.Host, r.URL) {
			deny(w, http.StatusUnauthorized, "no ticket for this")
			return
		}
		q := r.URL.Query()
		s := d.stores[q.Get("dsName")]
		if q.Get("dcPath") != "ha-datacenter" || s == nil || !s.mountedOn(host) {
			s = nil
		}
		l.serveFile(w, r, s, host)
	})
}

// redeem uses up a ticket.
func (h *hostFiles) redeem(id, method, host string, u *url.URL) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	want, ok := h.tickets[id]
	delete(h.tickets, id)
	return ok && want == ticketFor(method, host, u)
}

func ticketFor(method, host string, u *url.URL) string {
	switch method {
	case "httpPUT":
		method = string(types.SessionManagerHttpServiceRequestSpecMethodHttpPut)
	case "httpGET":
		method = string(types.SessionManagerHttpServiceRequestSpecMethodHttpGet)
	}
	return method + " " + host + u.EscapedPath() + "?" + u.RawQuery
}

// ticket answers AcquireGenericServiceTicket.
func (l *Lab) ticket(w http.ResponseWriter, m *simulator.Method) {
	req := m.Body.(*types.AcquireGenericServiceTicket) //nolint:forcetypeassert // see createDisk
	spec, ok := req.Spec.(*types.SessionManagerHttpServiceRequestSpec)
	if !ok {
		replyFault(w, &types.InvalidArgument{InvalidProperty: "spec"})
		return
	}
	u, err := url.Parse(spec.Url)
	if err != nil {
		replyFault(w, &types.InvalidArgument{InvalidProperty: "spec.url"})
		return
	}
	id := uuid.NewString()
	l.hosts.mu.Lock()
	l.hosts.tickets[id] = ticketFor(spec.Method, u.Host, u)
	l.hosts.mu.Unlock()
	reply(w, http.StatusOK, fmt.Sprintf(`<%[1]sResponse xmlns="%[2]s"><returnval><id>%[3]s</id><hostName>%[4]s</hostName></returnval></%[1]sResponse>`,
		m.Name, vimNS, id, u.Hostname()))
}

// SetHost sets what vCenter says of a host: "connected", "disconnected" or "notResponding", and in maintenance or not.
func (l *Lab) SetHost(name, state string, maintenance bool) error {
	return l.changeHost(name, types.PropertyChange{Name: "runtime.connectionState", Val: types.HostSystemConnectionState(state)},
		types.PropertyChange{Name: "runtime.inMaintenanceMode", Val: maintenance})
}

// SetHostThumbprint sets what vCenter says the thumbprint of the host's certificate is, and makes it forget the rest.
func (l *Lab) SetHostThumbprint(name, print string) error {
	for ref, n := range l.inv.hosts {
		if n == name {
			l.setCertificate(ref, nil)
		}
	}
	return l.changeHost(name, types.PropertyChange{Name: "summary.config.sslThumbprint", Val: print})
}

// setCertificate sets what vCenter shows as the host's certificate, in PEM; nil: nothing.
func (l *Lab) setCertificate(host types.ManagedObjectReference, pem []byte) {
	ctx := l.context()
	if h, ok := ctx.Map.Get(host).(*simulator.HostSystem); ok {
		ctx.WithLock(h, func() { h.Config.Certificate = pem })
	}
}

func (l *Lab) changeHost(name string, changes ...types.PropertyChange) error {
	for ref, n := range l.inv.hosts {
		if n == name {
			l.update(ref, changes...)
			return nil
		}
	}
	return fmt.Errorf("no host %q", name)
}
