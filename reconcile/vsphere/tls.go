package vsphere

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/types"
)

// CertificateError says that a server's certificate is not trusted, and what would make it so.
type CertificateError struct {
	Host       string
	Thumbprint string // SHA-256, colon separated
	Pinned     string // the thumbprint that was expected; empty when authorities were asked
	Err        error
	ByVCenter  bool // Pinned is what vCenter says of one of its hosts, not lkv.hcl of vCenter
}

// Error implements error.
func (e *CertificateError) Error() string {
	if e.ByVCenter {
		return fmt.Sprintf("the certificate of %s is not the one that vCenter knows: it has thumbprint %s, vCenter says %s; if it was renewed on purpose, reconnect the host in vCenter",
			e.Host, e.Thumbprint, e.Pinned)
	}
	if e.Pinned != "" {
		return fmt.Sprintf("the certificate of %s is not the pinned one: it has thumbprint %s, lkv.hcl says %s; if it was renewed on purpose, write thumbprint = %q in the vcenter block",
			e.Host, e.Thumbprint, e.Pinned, e.Thumbprint)
	}
	return fmt.Sprintf("the certificate of %s is not trusted (%v); compare its thumbprint with the one vCenter shows, then write in the vcenter block either ca_file = \"<PEM file of its authority>\" or thumbprint = %q",
		e.Host, e.Err, e.Thumbprint)
}

// Unwrap returns why the certificate was not trusted.
func (e *CertificateError) Unwrap() error { return e.Err }

// verification builds the TLS configuration. The chain is verified here rather than by crypto/tls, so that a failure
// can show the thumbprint of what the server presented.
func (cfg Config) verification(host string) (*tls.Config, error) {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: strings.Trim(name, "[]"), InsecureSkipVerify: true}
	if cfg.Insecure {
		return conf, nil
	}
	var roots *x509.CertPool // nil: the system's
	if cfg.CAFile != "" {
		pem, err := readCA(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file: %s holds no PEM certificate", cfg.CAFile)
		}
	}
	conf.VerifyConnection = func(s tls.ConnectionState) error { return cfg.verify(host, s, roots) }
	return conf, nil
}

func (cfg Config) verify(host string, s tls.ConnectionState, roots *x509.CertPool) error {
	leaf := s.PeerCertificates[0]
	sum := sha256.Sum256(leaf.Raw)
	print := colons(sum[:])
	if cfg.Thumbprint != "" {
		old := sha1.Sum(leaf.Raw)
		if strings.EqualFold(cfg.Thumbprint, print) || strings.EqualFold(cfg.Thumbprint, colons(old[:])) {
			return nil
		}
		return &CertificateError{Host: host, Thumbprint: print, Pinned: cfg.Thumbprint}
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: s.ServerName, Roots: roots, Intermediates: between}); err != nil {
		return &CertificateError{Host: host, Thumbprint: print, Err: err}
	}
	return nil
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}

// explain turns what went wrong at the first contact into a sentence with a remedy.
func explain(err error, host string) error {
	var cert *CertificateError
	var dns *net.DNSError
	var op *net.OpError
	var ue *url.Error
	switch {
	case errors.As(err, &cert):
		return cert
	case fault.Is(err, &types.InvalidLogin{}):
		return errors.New("user name or password is wrong")
	case fault.Is(err, &types.NoPermission{}):
		return errors.New("the user may not log in (R20): give it a role on this vCenter")
	case errors.As(err, &dns):
		return fmt.Errorf("host name %s is not known: check the url of the vcenter block", dns.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s: check the url and the firewall", connectTime)
	case errors.As(err, &op):
		return fmt.Errorf("%w: is vCenter running, and reachable from here?", op)
	case errors.As(err, &ue):
		return fmt.Errorf("%w: does %s speak the vSphere API?", ue.Err, host)
	}
	return err
}
