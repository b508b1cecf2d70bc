package vsphere

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// Who takes uploads.
const (
	Auto       = "auto"    // a host, when one can be reached from here; else vCenter
	ViaVCenter = "vcenter" // vCenter, which hands every byte on to a host
	ViaHost    = "host"    // a host, or nobody
)

// probeTime is how long all hosts together have to take a connection.
const probeTime = 2 * time.Second

// route is how the uploads of a store travel.
type route struct {
	mode string

	mu    sync.Mutex
	asked bool
	host  *directHost // nil: through vCenter
}

// directHost is a host that takes uploads itself.
type directHost struct {
	name   string
	addr   string // host and port
	client *http.Client
}

// Put uploads a file. Only temporary names are let through. When a host that was to take the file does not, the next
// upload goes through vCenter, and so does this one if nothing of it was sent yet; else the error is a temporary one.
func (s *folder) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	h, err := s.direct(ctx)
	if err != nil {
		return judged(err)
	}
	if h != nil {
		sent := &lent{r: r}
		err := s.ds.putTo(ctx, h, s.in(p), sent, size)
		if err == nil || s.via.mode == ViaHost || ctx.Err() != nil {
			return judged(err)
		}
		s.via.giveUp()
		if sent.back() > 0 {
			return &StoreError{fmt.Errorf("%w (the next try goes through vCenter)", err), true}
		}
	}
	return judged(s.ds.put(ctx, s.in(p), r, size))
}

// lent is a reader that can be taken back from a transport, which may go on reading after its answer.
type lent struct {
	mu   sync.Mutex
	r    io.Reader
	n    int64
	done bool
}

// Read implements io.Reader.
func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return 0, io.ErrClosedPipe
	}
	n, err := l.r.Read(p)
	l.n += int64(n)
	return n, err
}

// back takes the reader back and returns how much was read of it.
func (l *lent) back() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = true
	return l.n
}

// giveUp sends what follows through vCenter.
func (v *route) giveUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.host = nil
}

// direct returns the host that takes uploads; nil means vCenter. Hosts are asked once.
func (s *folder) direct(ctx context.Context) (*directHost, error) {
	s.via.mu.Lock()
	defer s.via.mu.Unlock()
	if s.via.mode == ViaVCenter || s.via.asked || !s.ds.c.vcenter() {
		return s.via.host, nil
	}
	h, err := s.ds.c.nearby(ctx, s.ds.live)
	if err != nil && s.via.mode == ViaHost {
		return nil, fmt.Errorf("find a host that takes uploads to [%s] (transport = \"host\"): %w", s.ds.name, err)
	}
	s.via.host, s.via.asked = h, true
	return h, nil
}

// nearby returns the first host, by name, that takes a connection and is who vCenter says it is.
func (c *Client) nearby(ctx context.Context, refs []types.ManagedObjectReference) (*directHost, error) {
	var wants []want
	for _, ref := range refs {
		wants = append(wants, want{ref, []string{"name", "summary.config", "config.certificate", "config.virtualNicManagerInfo.netConfig"}})
	}
	list, err := c.retrieve(ctx, wants...)
	if err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	slices.SortFunc(list, func(a, b item) int { return strings.Compare(text(a, "name"), text(b, "name")) })
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var errs []error
	for _, o := range list {
		h, err := c.hostOf(o)
		if err == nil {
			err = h.probe(ctx)
		}
		if err == nil {
			return h, nil
		}
		errs = append(errs, fmt.Errorf("host %s: %w", text(o, "name"), err))
	}
	return nil, cmp.Or(errors.Join(errs...), errors.New("no host is connected and outside maintenance"))
}

// hostOf prepares the connection to a host, whose certificate must be the one that vCenter knows of it.
func (c *Client) hostOf(o item) (*directHost, error) {
	sum, _ := get[types.HostConfigSummary](o, "summary.config")
	print := sum.SslThumbprint
	if raw, ok := get[types.ArrayOfByte](o, "config.certificate"); ok {
		if block, _ := pem.Decode(raw.Byte); block != nil {
			digest := sha256.Sum256(block.Bytes)
			print = colons(digest[:])
		}
	}
	if print == "" {
		return nil, errors.New("vCenter does not say what its certificate is")
	}
	port := cmp.Or(sum.Port, 443)
	h := &directHost{name: text(o, "name"), addr: net.JoinHostPort(managementAddress(o), strconv.Itoa(int(port)))}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // VerifyConnection does it
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		err := Config{Thumbprint: print}.verify(h.addr, s, nil)
		var cert *CertificateError
		if errors.As(err, &cert) {
			cert.ByVCenter = true
		}
		return err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	t.TLSClientConfig, t.ForceAttemptHTTP2 = conf, false
	h.client = &http.Client{Transport: &folderGate{next: t, trace: c.trace, permits: map[string]bool{}, log: c.files.log}}
	return h, nil
}

// managementAddress is where a host is managed: the address of its management network card, else its name.
func managementAddress(o item) string {
	nets, _ := get[types.ArrayOfVirtualNicManagerNetConfig](o, "config.virtualNicManagerInfo.netConfig")
	for _, n := range nets.VirtualNicManagerNetConfig {
		if n.NicType != string(types.HostVirtualNicManagerNicTypeManagement) {
			continue
		}
		for _, nic := range n.CandidateVnic {
			if slices.Contains(n.SelectedVnic, nic.Key) && nic.Spec.Ip != nil && nic.Spec.Ip.IpAddress != "" {
				return nic.Spec.Ip.IpAddress
			}
		}
	}
	return text(o, "name")
}

// probe connects, and lets the host show its certificate.
func (h *directHost) probe(ctx context.Context) error {
	t := h.client.Transport.(*folderGate).next.(*http.Transport) //nolint:forcetypeassert // hostOf made it
	conn, err := (&tls.Dialer{Config: t.TLSClientConfig}).DialContext(ctx, "tcp", h.addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// putTo uploads a file straight to a host, with a ticket from vCenter that is good for this one request.
func (d datastore) putTo(ctx context.Context, h *directHost, p string, r io.Reader, size int64) error {
	u := &url.URL{Scheme: "https", Host: h.addr}
	fileURL(u, p, url.Values{"dcPath": {"ha-datacenter"}, "dsName": {d.name}})
	res, err := methods.AcquireGenericServiceTicket(ctx, d.c.vim, &types.AcquireGenericServiceTicket{
		This: *d.c.vim.ServiceContent.SessionManager,
		Spec: &types.SessionManagerHttpServiceRequestSpec{Method: string(types.SessionManagerHttpServiceRequestSpecMethodHttpPut), Url: u.String()},
	})
	if err != nil {
		return fmt.Errorf("get a ticket for host %s: %w", h.name, err)
	}
	req, err := upload(ctx, u, r, size)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", d.c.vim.UserAgent)
	req.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: res.Returnval.Id})
	answer, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("upload to host %s: %w", h.name, &wireError{hideURL(err)})
	}
	defer answer.Body.Close()
	return accepted("host "+h.name, answer)
}
