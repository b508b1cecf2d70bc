// Package vsphere is the outside world of the reconciler: sessions, datastores, what VMs are (Observe) and what is
// done to them (Execute). It is the only importer of govmomi besides the lab.
//
// Every call to vCenter passes a closed list (see calls.go): a method that is not on it is refused without being
// sent, and those that could touch a data disk are refused by what they carry. Device specifications are written by
// hand; govmomi's helpers default to creating, replacing and destroying disk files.
//
// Not supported: VMs on ESXi without vCenter (its datastores work as stores), moving VMs, deleting anything but lkv's
// own unfinished uploads and the ISOs that the caller names.
package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// connectTime bounds the first contact; hello is what a version-aware client asks before anything else.
const connectTime = 45 * time.Second

// Config says how to reach a vCenter. Everything but URL, Username and Password is optional.
type Config struct {
	URL        string // "https://vc.example.com", with or without /sdk; user name and password in it are ignored
	Username   string
	Password   string
	CAFile     string // PEM file of the authorities to trust instead of the system's
	Thumbprint string // SHA-256 or SHA-1 fingerprint of the server's certificate, instead of authorities
	Insecure   bool   // verify nothing; the caller warns
	UserAgent  string // default "lkv"

	// Trace, when set, is called before every SOAP call that is sent, with the method's name and whether the call
	// changes anything (uploads are "PUT"). It may be called from several goroutines.
	Trace func(method string, mutating bool)
	// Wrap, when set, wraps the HTTP transport below everything else: for fault injection and recording.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Client is one session with one vCenter. It logs in again by itself when the session has expired.
type Client struct {
	vim      *vim25.Client
	gate     *gate
	files    *folderGate
	session  *session
	rest     apiHolder // for content libraries
	trace    func(method string, mutating bool)
	promised promises
	base     string // URL without credentials, for messages
}

// Connect logs in. A certificate that is not trusted is a *CertificateError, which says what to write in lkv.hcl.
// The password is in no error.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	u, err := cfg.address()
	if err != nil {
		return nil, err
	}
	sc, folder, err := cfg.transport(u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	content, err := methods.GetServiceContent(ctx, sc)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", u.Host, explain(err, u.Host))
	}
	if err := sc.UseServiceVersion(); err != nil {
		return nil, fmt.Errorf("ask %s for its API version: %w", u.Host, err)
	}
	c := &Client{base: u.Scheme + "://" + u.Host, files: folder, trace: cfg.Trace}
	c.session = &session{next: sc, user: cfg.Username, password: cfg.Password, manager: *content.SessionManager}
	c.gate = newGate(c.session, cfg.Trace)
	c.vim = &vim25.Client{Client: sc, ServiceContent: content, RoundTripper: c.gate}
	if err := c.session.login(ctx); err != nil {
		return nil, fmt.Errorf("log in to %s as %s: %w", u.Host, cfg.Username, explain(err, u.Host))
	}
	return c, nil
}

// Close logs out. vCenter keeps sessions for half an hour otherwise, and has a limited number of them.
func (c *Client) Close(ctx context.Context) error {
	defer c.vim.CloseIdleConnections()
	rerr := c.rest.close(ctx)
	_, err := methods.Logout(ctx, c.vim, &types.Logout{This: *c.vim.ServiceContent.SessionManager})
	if fault.Is(err, &types.NotAuthenticated{}) {
		err = nil
	}
	if err = errors.Join(err, rerr); err != nil {
		return fmt.Errorf("log out of %s: %w", c.base, err)
	}
	return nil
}

// About returns product and version, for example "VMware vCenter Server 8.0.3".
func (c *Client) About() string { return c.vim.ServiceContent.About.FullName }

// ID tells vCenters apart, by whatever address they are reached. A host by itself has none.
func (c *Client) ID() string {
	if !c.vcenter() {
		return ""
	}
	return c.vim.ServiceContent.About.InstanceUuid
}

// vcenter tells whether this is a vCenter, and not a host by itself.
func (c *Client) vcenter() bool { return c.vim.ServiceContent.About.ApiType == "VirtualCenter" }

func (cfg Config) address() (*url.URL, error) {
	if cfg.URL == "" {
		return nil, errors.New("no vCenter URL: write a vcenter block in lkv.hcl, or set LKV_VCENTER_URL or GOVC_URL")
	}
	u, err := soap.ParseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("vCenter URL does not parse: %w", hideURL(err))
	}
	u.User = nil
	switch {
	case u.Host == "":
		return nil, fmt.Errorf("vCenter URL %q has no host: write https://HOST", u)
	case u.Scheme == "http" && cfg.Insecure, u.Scheme == "https":
	default:
		return nil, fmt.Errorf("vCenter URL %q: use https (http only together with insecure = true)", u)
	}
	if cfg.Username == "" {
		return nil, fmt.Errorf("no user name for vCenter %s: set username in the vcenter block, or LKV_VCENTER_USERNAME or GOVC_USERNAME", u.Host)
	}
	return u, nil
}

// hideURL drops the URL from a parse error: it may hold a password.
func hideURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

func (cfg Config) transport(u *url.URL) (*soap.Client, *folderGate, error) {
	sc := soap.NewClient(u, cfg.Insecure)
	sc.Namespace, sc.Version = "urn:"+vim25.Namespace, vim25.Version
	sc.UserAgent = cfg.UserAgent
	if sc.UserAgent == "" {
		sc.UserAgent = "lkv"
	}
	t := sc.DefaultTransport()
	conf, err := cfg.verification(u.Host)
	if err != nil {
		return nil, nil, err
	}
	t.TLSClientConfig, t.DialTLSContext = conf, nil
	var rt http.RoundTripper = t
	if cfg.Wrap != nil {
		rt = cfg.Wrap(rt)
	}
	folder := &folderGate{next: rt, trace: cfg.Trace, permits: map[string]bool{}, log: new(atomic.Pointer[recorder])}
	sc.Transport = folder
	return sc, folder, nil
}

func readCA(file string) ([]byte, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	return pem, nil
}
