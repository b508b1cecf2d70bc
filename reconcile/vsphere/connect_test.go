package vsphere_test

import (
	"context"
	"crypto/sha1"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile/vsphere"
)

const secret = "hunter2-%&<"

func TestConnect(t *testing.T) {
	r := newRig(t, lab.Config{Password: secret})
	good := r.config()
	html := httptest.NewTLSServer(http.NotFoundHandler())
	defer html.Close()
	web := filepath.Join(t.TempDir(), "web.pem")
	if err := os.WriteFile(web, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: html.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*vsphere.Config)
		want   []string // nothing: it connects
	}{
		"authority":              {func(*vsphere.Config) {}, nil},
		"without /sdk":           {func(c *vsphere.Config) { c.URL = strings.TrimSuffix(c.URL, "/sdk") + "/" }, nil},
		"credentials in the URL": {func(c *vsphere.Config) { c.URL = strings.Replace(c.URL, "https://", "https://x:y@", 1) }, nil},
		"SHA-256 thumbprint":     {func(c *vsphere.Config) { c.CAFile, c.Thumbprint = "", strings.ToLower(r.lab.Thumbprint()) }, nil},
		"SHA-1 thumbprint":       {func(c *vsphere.Config) { c.CAFile, c.Thumbprint = "", oldPrint(t, r.lab.URL()) }, nil},
		"insecure":               {func(c *vsphere.Config) { c.CAFile, c.Insecure = "", true }, nil},
		"unknown authority": {func(c *vsphere.Config) { c.CAFile = "" },
			[]string{"not trusted", `thumbprint = "` + r.lab.Thumbprint() + `"`, "ca_file"}},
		"other authority": {func(c *vsphere.Config) { c.CAFile = web }, []string{"not trusted", r.lab.Thumbprint()}},
		"other thumbprint": {func(c *vsphere.Config) { c.Thumbprint = "AA:BB" },
			[]string{"not the pinned one", "AA:BB", `thumbprint = "` + r.lab.Thumbprint() + `"`}},
		"no ca_file":    {func(c *vsphere.Config) { c.CAFile = "none.pem" }, []string{"read ca_file", "none.pem"}},
		"empty ca_file": {func(c *vsphere.Config) { c.CAFile = os.DevNull }, []string{"no PEM certificate"}},
		"password":      {func(c *vsphere.Config) { c.Password += "x" }, []string{"log in to", "user name or password is wrong"}},
		"no user":       {func(c *vsphere.Config) { c.Username = "" }, []string{"no user name", "LKV_VCENTER_USERNAME"}},
		"no URL":        {func(c *vsphere.Config) { c.URL = "" }, []string{"no vCenter URL", "LKV_VCENTER_URL"}},
		"no host":       {func(c *vsphere.Config) { c.URL = "https:///sdk" }, []string{"has no host"}},
		"http":          {func(c *vsphere.Config) { c.URL = "http://vc" }, []string{"use https"}},
		"bad URL":       {func(c *vsphere.Config) { c.URL = "https://u:" + secret + "@vc:port" }, []string{"does not parse"}},
		"nobody there":  {func(c *vsphere.Config) { c.URL = "https://" + closed(t) }, []string{"connect to 127.0.0.1", "refused", "is vCenter running"}},
		"unknown name":  {func(c *vsphere.Config) { c.URL = "https://vc.invalid" }, []string{"host name vc.invalid is not known"}},
		"no vCenter":    {func(c *vsphere.Config) { c.URL, c.CAFile = html.URL, web }, []string{"404", "does", "speak the vSphere API?"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			client, err := vsphere.Connect(ctx, cfg)
			if err == nil {
				err = client.Close(ctx)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it shows the password: %v", err)
			}
			if len(c.want) == 0 && err != nil || len(c.want) > 0 && err == nil {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v, want %q", err, w)
				}
			}
		})
	}
}

func TestCertificateErrorIsTyped(t *testing.T) {
	r := newRig(t, lab.Config{})
	cfg := r.config()
	cfg.CAFile = ""
	_, err := vsphere.Connect(t.Context(), cfg)
	var c *vsphere.CertificateError
	if !errors.As(err, &c) || c.Thumbprint != r.lab.Thumbprint() {
		t.Errorf("%v", err)
	}
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// oldPrint is the SHA-1 thumbprint that older tools show.
func oldPrint(t *testing.T, url string) string {
	t.Helper()
	host := strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/sdk")
	conn, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var parts []string
	for _, b := range sha1.Sum(conn.ConnectionState().PeerCertificates[0].Raw) {
		parts = append(parts, fmt.Sprintf("%02X", b))
	}
	return strings.Join(parts, ":")
}

// An expired session is renewed without anybody noticing, by reads and by writes.
func TestSessionIsRenewed(t *testing.T) {
	r := newRig(t, lab.Config{})
	d := desired(1, r.image("iso v1"))
	r.lab.ExpireSessions()
	r.observe(d)
	r.lab.OnCall(func(lab.Call) lab.Fault { r.lab.ExpireSessions(); return lab.None })
	defer r.lab.OnCall(nil)
	if res := r.run(d); res.Outcome != "converged" {
		t.Errorf("%+v", res)
	}
}
