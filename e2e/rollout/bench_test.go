//go:build e2e

package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
)

// deadline bounds one command: a roll of two VMs takes less than a minute where nothing else runs.
const deadline = 10 * time.Minute

// bench is a lab with one fleet, and a machine on which lkv is run.
type bench struct {
	*testing.T
	dir, bin string
	home     string // of this machine: spec, hook and state lie there
	cwd      string // where lkv is called
	lab      *lab.Lab
	env      []string
	isos     map[string]string // file names on the store, by release
	verified map[string]bool   // journals
}

func newBench(t *testing.T) *bench {
	t.Helper()
	bin, cache := os.Getenv("LKV_BIN"), os.Getenv("LKV_CACHE")
	if bin == "" || cache == "" {
		t.Fatal("LKV_BIN and LKV_CACHE are not set: run this through `make demo-test`")
	}
	b := &bench{T: t, dir: t.TempDir(), bin: filepath.Join(bin, "lkv"), isos: map[string]string{}, verified: map[string]bool{}}
	b.home, b.cwd = b.dir, b.dir
	var err error
	b.lab, err = lab.Start(t.Context(), lab.Config{Dir: filepath.Join(b.dir, "lab"), Driver: lab.QEMU{}, Datacenters: lab.DefaultDatacenters(1)[:1]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.end)
	b.env = append(os.Environ(), "LKV_CACHE="+cache, "XDG_STATE_HOME="+filepath.Join(b.dir, "state"), "HOOKS_LOG="+filepath.Join(b.dir, "hooks.log"))
	for k, v := range b.lab.Env() {
		b.env = append(b.env, k+"="+v)
	}
	b.settle()
	return b
}

// settle puts the spec and its hook on this machine.
func (b *bench) settle() {
	b.Helper()
	for _, name := range []string{"lkv.hcl", "hook.sh"} {
		b.copy(name, 0o700)
	}
}

// machine is another machine that runs lkv on the same fleet: it shares nothing with this one but the vCenter, and the
// spec as it is now.
func (b *bench) machine(name string) *bench {
	b.Helper()
	m := *b
	m.home = filepath.Join(b.dir, name)
	m.cwd = m.home
	m.env = append(slices.Clone(b.env), "LKV_CACHE="+filepath.Join(m.home, "cache"), "XDG_STATE_HOME="+filepath.Join(m.home, "state"))
	if err := os.MkdirAll(m.home, 0o700); err != nil {
		b.Fatal(err)
	}
	m.settle()
	m.copy("vm.yml", 0o600)
	return &m
}

// elsewhere is this machine, and another directory on it.
func (b *bench) elsewhere() *bench {
	e := *b
	e.cwd = b.TempDir()
	e.env = append(slices.Clone(b.env), "LKV_FILE="+b.home)
	return &e
}

// end closes the lab; what the consoles said last is evidence of a failure.
func (b *bench) end() {
	if b.Failed() {
		logs, _ := filepath.Glob(filepath.Join(b.dir, "lab", "machines", "*", "*", "serial.log")) // the pattern is well-formed
		for _, path := range logs {
			log, _ := os.ReadFile(path)
			b.Logf("--- end of %s\n%s", path, bytes.TrimSpace(log[max(0, len(log)-3000):]))
		}
	}
	if err := b.lab.Close(); err != nil {
		b.Error(err)
	}
}

// copy copies a file of testdata, with replacements, to the machine.
func (b *bench) copy(name string, mode os.FileMode, replace ...string) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.home, name), []byte(strings.NewReplacer(replace...).Replace(string(text))), mode); err != nil {
		b.Fatal(err)
	}
}

// set gives a variable of the spec another value.
func (b *bench) set(name, value string) { b.env = append(b.env, "LKV_VAR_"+name+"="+value) }

// release builds an image that writes that release into the diary, and pushes it. The verdict is "true" or "false": with
// the latter a required step fails once the diary is written, and the guest says that it has failed.
func (b *bench) release(release, verdict string) {
	b.Helper()
	b.copy("vm.yml", 0o600, "RELEASE", release, "VERDICT", verdict)
	b.lkv(0, "build", "--offline", "--json")
	var doc struct{ Pushed []struct{ Path string } }
	if err := json.Unmarshal([]byte(b.lkv(0, "push", "--json")), &doc); err != nil || len(doc.Pushed) != 1 {
		b.Fatalf("push --json: %v, %+v", err, doc)
	}
	b.isos[release] = doc.Pushed[0].Path
}

// lkv runs a command to its end, wants that exit code and returns standard output.
func (b *bench) lkv(code int, args ...string) string {
	b.Helper()
	began := time.Now()
	p := b.start(args...)
	if got := p.wait(); got != code {
		b.Fatalf("lkv %s: exit code %d, want %d\n%s\n%s", strings.Join(args, " "), got, code, &p.out, &p.log)
	}
	b.Logf("%5.1f s  lkv %s", time.Since(began).Seconds(), strings.Join(args, " "))
	return p.out.String()
}

// process is an lkv that runs.
type process struct {
	*bench
	*exec.Cmd
	out, log output
	ended    chan struct{} // closed when it has
	err      error         // of Wait, then
}

// output is what a process prints, readable while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (b *bench) start(args ...string) *process {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), deadline)
	b.Cleanup(cancel)
	p := &process{bench: b, Cmd: exec.CommandContext(ctx, b.bin, args...), ended: make(chan struct{})}
	p.Dir, p.Env, p.Stdout, p.Stderr = b.cwd, b.env, &p.out, &p.log
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	go func() {
		p.err = p.Wait()
		close(p.ended)
	}()
	return p
}

// wait returns the exit code, -1 after a signal that was not caught.
func (p *process) wait() int {
	p.Helper()
	<-p.ended
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.Fatal(p.err)
	}
	return p.ProcessState.ExitCode()
}

// stop asks lkv to end, and wants it to.
func (p *process) stop() {
	p.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	if code := p.wait(); code != 128+int(syscall.SIGTERM) {
		p.Errorf("asked to end, it ended with %d\n%s\n%s", code, &p.out, &p.log)
	}
}

// until waits for something that happens outside of this program.
func (b *bench) until(what string, holds func() bool) {
	b.Helper()
	for end := time.Now().Add(deadline); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("it did not happen: %s", what)
		}
	}
}

// verify checks the journals written since the last time, of which there must be one. Of a run that was killed the journal
// is cut, and may have one call without an end; every promise holds in it all the same.
func (b *bench) verify(killed bool) {
	b.Helper()
	if b.verifyNew(killed) == 0 {
		b.Error("no journal was written")
	}
}

// verifyNew is verify for runs that may have done nothing. It returns how many journals there were.
func (b *bench) verifyNew(killed bool) int {
	b.Helper()
	list, err := filepath.Glob(filepath.Join(b.home, "state", "lkv", "journal", "*.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	fresh := 0
	for _, path := range list {
		if b.verified[path] {
			continue
		}
		fresh++
		b.verified[path] = true
		b.verifyOne(path, killed)
	}
	return fresh
}

func (b *bench) verifyOne(path string, killed bool) {
	b.Helper()
	p := b.start("verify", "--json", path)
	code := p.wait()
	var doc struct {
		Head       struct{ Command string }
		OK, Closed bool
		Calls      int
		Invariants []struct {
			Code, State string
			Found       []struct{ Why string }
		}
	}
	if err := json.Unmarshal([]byte(p.out.String()), &doc); err != nil {
		b.Fatalf("lkv verify: %v\n%s", err, &p.log)
	}
	for _, i := range doc.Invariants {
		if i.State == "violated" {
			b.Errorf("%s: %s %s: %+v", filepath.Base(path), i.Code, i.State, i.Found)
		}
	}
	killed = killed && doc.Head.Command == "reconcile" // the push before it was not
	if doc.OK == killed || doc.Closed == killed || (code == 0) == killed || doc.Calls == 0 {
		b.Errorf("lkv verify: exit code %d\n%s", code, &p.out)
	}
}
