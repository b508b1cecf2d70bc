package specs

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// ListenAddress returns the address of the daemon's HTTP server for what a spec or a flag says. Without a host that is
// this machine only: ":9180" means 127.0.0.1:9180, because what is served says names of fleets and images to anybody who
// asks. Another address, 0.0.0.0 for all of them, has to be written. A host name is none, but for localhost: which
// addresses it means is for a name server to say.
func ListenAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		return "", fmt.Errorf("%q is no address to listen on: write \":9180\" for this machine only, an IP address of this machine and a port, or \"0.0.0.0:9180\" for everybody", listen)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// daemon checks what reconcile --watch is made of, so that lint says it and no daemon ends at its next start.
func (s *scope) daemon(r Reconcile) {
	if r.Interval == 0 {
		s.bad("interval", "Without a pause between two looks vCenter is asked all the time: write interval = \"5m\"")
	}
	if r.Interval > 0 && r.Interval < 10*time.Second {
		s.doubt("interval", "A look every %s is a load for vCenter; what happens to VMs in between is noticed all the same: write interval = \"5m\"", r.Interval)
	}
	if r.Listen != "" {
		if _, err := ListenAddress(r.Listen); err != nil {
			s.bad("listen", "%v", err)
		}
	}
	if r.Webhook.file != "" || !r.Webhook.IsSet() { // a file is read when it is needed
		return
	}
	if u, err := url.Parse(r.Webhook.value); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		s.bad("webhook", "It is no address: write webhook = env(\"WEBHOOK\") with a URL that begins with https://")
	}
}
