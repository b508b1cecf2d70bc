package reconcile

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/reconcile/plan"
)

func TestChecks(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/away":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case "/hang":
			<-r.Context().Done()
		default:
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, gone, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	vm := plan.VM{Name: "wrk-01", Power: plan.On, Guest: plan.Guest{IP: "127.0.0.1"}}
	for name, c := range map[string]struct {
		checks Checks
		says   string // "" is good
	}{
		"none":            {Checks{}, ""},
		"tcp":             {Checks{TCP: port}, ""},
		"tcp with host":   {Checks{TCP: "{ip}:" + port}, ""},
		"tcp closed":      {Checks{TCP: gone}, "refused"},
		"http":            {Checks{HTTP: "http://{ip}:" + port + "/ok"}, ""},
		"http redirect":   {Checks{HTTP: "http://{ip}:" + port + "/away"}, ""},
		"http error":      {Checks{HTTP: "http://{ip}:" + port + "/bad"}, "503"},
		"http too slow":   {Checks{HTTP: "http://{ip}:" + port + "/hang", Timeout: 100 * time.Millisecond}, "deadline"},
		"http nonsense":   {Checks{HTTP: "http://{ip}:x"}, "request"},
		"command":         {Checks{Command: []string{"/bin/sh", "-c", `test "$LKV_VM {ip}" = "wrk-01 $LKV_IP"`}}, ""},
		"command fails":   {Checks{Command: []string{"/bin/sh", "-c", "echo first >&2; echo not yet >&2; exit 3"}}, "exit status 3: not yet"},
		"command hangs":   {Checks{Command: []string{"/bin/sh", "-c", "sleep 60"}, Timeout: 100 * time.Millisecond}, "too long"},
		"command missing": {Checks{Command: []string{"./no-such-check"}}, "no-such-check"},
		"command env":     {Checks{Command: []string{"/bin/sh", "-c", "test $A = b"}, Env: []string{"A=b"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			probes := c.checks.Probe(t.Context(), plan.WantVM{}, vm)
			if c.checks.Any() != (len(probes) == 1) {
				t.Fatalf("%+v", probes)
			}
			for _, p := range probes {
				if p.OK != (c.says == "") || !strings.Contains(p.Why, c.says) {
					t.Errorf("%+v", p)
				}
			}
		})
	}
	all := Checks{TCP: port, HTTP: "http://{ip}:" + port + "/bad", Command: []string{"true"}}
	if got := all.Probe(t.Context(), plan.WantVM{}, vm); len(got) != 3 || !got[0].OK || got[1].OK || !got[2].OK {
		t.Errorf("%+v", got)
	}
	vm.Guest.IP = ""
	if got := all.Probe(t.Context(), plan.WantVM{}, vm); got[0].OK || got[0].Why != "the VM has no address yet" || !got[2].OK {
		t.Errorf("without an address: %+v", got)
	}
}
