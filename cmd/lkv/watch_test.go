package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/daemon"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// watched is lkv reconcile --watch --json at work in this process.
type watched struct {
	t       *testing.T
	results chan reconcile.Result // closing lines
	end     context.CancelCauseFunc
	code    chan int
	log     *lockedBuffer
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (m *mission) watch(args ...string) *watched {
	m.t.Helper()
	w := &watched{t: m.t, results: make(chan reconcile.Result, 100), code: make(chan int, 1), log: &lockedBuffer{}}
	ctx, end := context.WithCancelCause(m.t.Context())
	w.end = end
	out, stdout := io.Pipe()
	go func() {
		w.code <- run(ctx, system{
			Args: append([]string{"lkv", "-f", filepath.Join(m.dir, "lkv.hcl"), "reconcile", "--watch", "--json"}, args...), Stdin: strings.NewReader(""),
			Stdout: stdout, Stderr: w.log, Env: m.env, Now: time.Now, Rand: &counter{}, Version: "test", Host: "here",
		})
		stdout.Close()
	}()
	go func() {
		defer close(w.results)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var r reconcile.Result
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				m.t.Errorf("no JSON line: %q: %v", lines.Text(), err)
			}
			if r.Outcome != "" {
				w.results <- r
			}
		}
	}()
	return w
}

// next waits for the end of a look.
func (w *watched) next(want reconcile.Outcome) reconcile.Result {
	w.t.Helper()
	select {
	case r := <-w.results:
		if r.Outcome != want {
			w.t.Fatalf("the look ended %+v, want %s\n%s", r, want, w.log)
		}
		return r
	case <-time.After(time.Minute):
		w.t.Fatalf("no look ended %s\n%s", want, w.log)
	}
	return reconcile.Result{}
}

// hangup sends this process SIGHUP; the daemon listens to it from before its first look.
func (w *watched) hangup() {
	w.t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
}

// get asks until the answer has that status and contains all that, and returns it. A look is taken in a moment after its
// closing line was printed.
func (w *watched) get(path string, status int, contains ...string) string {
	w.t.Helper()
	_, address, _ := strings.Cut(w.log.String(), "address=")
	address, _, _ = strings.Cut(address, "\n")
	var text string
	for from := time.Now(); time.Since(from) < time.Minute; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			w.t.Fatalf("%v\n%s", err, w.log)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		text = string(b)
		if resp.StatusCode == status && !slices.ContainsFunc(contains, func(c string) bool { return !strings.Contains(text, c) }) {
			return text
		}
	}
	w.t.Fatalf("%s never answers %d with %q but %s", path, status, contains, text)
	return ""
}

// notified listens as systemd does, and returns what returns what was heard.
func notified(t *testing.T) func() []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() (said []string) {
		b := make([]byte, 1000)
		for {
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(b)
			if err != nil {
				return said
			}
			said = append(said, string(b[:n]))
		}
	}
}

// A day in the life of the daemon: it creates the fleet, survives a spec that does not parse, only looks while it is
// suspended, rolls afterwards, gets on with runs from cron, tells a webhook, and ends on SIGTERM.
func TestWatch(t *testing.T) {
	var mu sync.Mutex
	var story []string
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e daemon.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.URL.Path != "/hunter2" {
			t.Errorf("%s: %v", r.URL, err)
		}
		mu.Lock()
		defer mu.Unlock()
		story = append(story, strings.TrimSpace(e.Kind+" "+e.VM+" "+string(e.Code)))
	}))
	defer web.Close()
	m := newMission(t, lab.Paper{})
	m.env["WEBHOOK"] = web.URL + "/hunter2"
	block := "reconcile {\n  interval = \"1h\"\n  listen = \"127.0.0.1:0\"\n  webhook = env(\"WEBHOOK\")\n"
	good := missionSpec + block + "}\n"
	m.write("lkv.hcl", good)
	m.release("1")

	systemd := notified(t)
	w := m.watch()
	if r := w.next(reconcile.Converged); len(r.Same) != 3 || r.Mutations == 0 {
		t.Errorf("%+v", r)
	}
	w.get("/readyz", 200)
	w.get("/healthz", 200)
	metrics := w.get("/metrics", 200,
		`lkv_fleet_desired_vms{fleet="docker"} 3`, `lkv_fleet_ready_vms{fleet="docker"} 3`, `lkv_fleet_outdated_vms{fleet="docker"} 0`,
		`lkv_vcenter_calls_total{kind="write",method="PowerOnVM_Task"} 3`, `lkv_rolls_succeeded_total{fleet="docker"} 3`,
		`lkv_step_duration_seconds_count{result="done",step="AwaitReady"} 3`, `lkv_build_info{`, `lkv_fleet_converged{fleet="docker"} 1`)
	if strings.Contains(metrics, "host-01") {
		t.Error("metrics name a VM")
	}
	before := m.mutations()
	m.lkv(exitOK, "reconcile") // cron, while the daemon waits

	m.write("lkv.hcl", good+"nonsense {")
	w.hangup()
	if r := w.next(reconcile.Broken); !strings.Contains(r.Why, "lkv.hcl") {
		t.Errorf("%+v", r)
	}
	w.get("/readyz", 503, "lkv.hcl")
	w.get("/healthz", 200)
	m.write("lkv.hcl", good)
	m.release("2")
	before += m.mutations() - before // what the push did
	m.write("lkv.hcl", missionSpec+block+"  suspend = true\n}\n")
	w.hangup()
	if r := w.next(reconcile.Pending); !slices.ContainsFunc(r.Blocked, func(b plan.Blocked) bool { return b.Code == plan.R13 }) || m.mutations() != before {
		t.Errorf("suspended: %+v, %d calls", r, m.mutations()-before)
	}
	w.get("/readyz", 200)
	w.get("/metrics", 200, "lkv_suspended 1", `lkv_fleet_outdated_vms{fleet="docker"} 3`)
	m.write("lkv.hcl", good)
	w.hangup()
	if r := w.next(reconcile.Converged); len(r.Same) != 3 || r.Mutations == 0 {
		t.Errorf("%+v", r)
	}
	w.end(interrupted{syscall.SIGTERM})
	if code := <-w.code; code != 143 {
		t.Errorf("exit code %d", code)
	}
	if said := systemd(); said[0] != "READY=1" || !slices.Contains(said, "STATUS=converged") || !slices.Contains(said, "STATUS=fleet docker: pending") || !slices.Contains(said, "STOPPING=1") {
		t.Errorf("systemd heard %q", said)
	}
	if log := w.log.String(); strings.Contains(log, "hunter2") || strings.Contains(log, web.URL) || !strings.Contains(log, "look failed") {
		t.Errorf("the log:\n%s", log)
	}
	if err := m.lab.Invariants(); err != nil {
		t.Error(err)
	}
	rolls := []string{"roll_started host-01", "roll_finished host-01", "roll_started host-02", "roll_finished host-02", "roll_started host-03", "roll_finished host-03"}
	want := slices.Concat(rolls, []string{"converged", "look_failed", "refused  R13"}, rolls, []string{"converged"})
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(story[:6]) // created at the same time
	slices.Sort(want[:6])
	if diff := cmp.Diff(want, story); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Interval and webhook follow the file while the daemon runs, an address to listen on does not, and the log says so. What
// a flag says stays.
func TestWatchFollowsTheSpec(t *testing.T) {
	var mu sync.Mutex
	var told []string
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e daemon.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r.URL.Path+" "+e.Kind)
	}))
	defer web.Close()
	m := newMission(t, lab.Paper{}) // nothing was ever pushed: every look is refused, with R01
	spec := func(interval, listen, hook string) string {
		return missionSpec + "reconcile {\n  interval = \"" + interval + "\"\n  listen = \"" + listen + "\"\n  webhook = \"" + web.URL + hook + "\"\n}\n"
	}
	m.write("lkv.hcl", spec("1h", "127.0.0.1:0", "/first"))
	w := m.watch()
	w.next(reconcile.Refused)
	m.write("lkv.hcl", spec("1h", ":0", "/second"))
	w.hangup()
	w.next(reconcile.Refused)
	m.write("lkv.hcl", spec("1h", "9180", "/third"))
	w.hangup()
	if r := w.next(reconcile.Broken); !strings.Contains(r.Why, "no address to listen on") {
		t.Errorf("a spec that is wrong: %+v", r)
	}
	m.write("lkv.hcl", spec("20ms", ":0", "/second"))
	w.hangup()
	for range 4 { // by itself
		w.next(reconcile.Refused)
	}
	w.end(interrupted{syscall.SIGTERM})
	if code := <-w.code; code != 143 {
		t.Errorf("exit code %d", code)
	}
	if log := w.log.String(); strings.Count(log, "takes a restart") != 1 || strings.Contains(log, web.URL) {
		t.Errorf("the log:\n%s", log)
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(told)
	if diff := cmp.Diff([]string{"/first refused", "/second look_failed"}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The flags win over a spec that changes.
func TestWatchFlagsWin(t *testing.T) {
	f := &followed{fixed: time.Minute, flag: true, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, r := range []specs.Reconcile{{Interval: time.Hour, Listen: ":1"}, {Interval: time.Second, Listen: ":2"}} {
		if err := f.take(r); err != nil || f.every() != time.Minute {
			t.Errorf("%v, %s", err, f.every())
		}
	}
	if err := f.take(specs.Reconcile{Webhook: specs.SecretFile("not-there")}); err == nil || f.every() != time.Minute {
		t.Errorf("a webhook that cannot be read: %v", err)
	}
}

func TestWatchIsRefused(t *testing.T) {
	m := newMission(t, lab.Paper{})
	for _, args := range [][]string{
		{"--interval", "1m"}, {"--listen", ":0"}, {"--watch", "--interval", "0s"}, {"--watch", "--listen", "9180"}, {"--watch", "--fleet", "nobody"},
	} {
		m.lkv(exitUsage, append([]string{"reconcile"}, args...)...)
	}
	m.write("lkv.hcl", missionSpec+"reconcile {\n  webhook = \"hunter2\"\n}\n")
	m.lkv(exitError, "reconcile", "--watch")
	m.write("lkv.hcl", "nonsense {")
	m.lkv(exitError, "reconcile", "--watch")
}
