package boot

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/container"
	"github.com/lkv-io/lkv/cmd/lkv-guest/proc"
	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// runc stands in for the real one, which needs a machine of its own (the boot tests have that): what it starts is the
// bundle's script "run", as an orphan that waits for "start", so that everything around it is what PID 1 does.
const runc = `#!/bin/sh
root=$2; cmd=$3; shift 3
echo "$cmd" "$@" >>"$root/calls"
case $cmd in
create)
	b=$2; pid=$4; id=$5
	mkdir "$root/$id" || exit 1
	sh -c "while [ ! -e '$root/$id/go' ]; do sleep 0.01; done; exec sh '$b/run'" &
	echo $! >"$pid"
	echo $! >"$root/$id/pid"
	;;
start) : >"$root/$1/go" ;;
delete)
	kill -9 "$(cat "$root/$2/pid")" 2>/dev/null
	rm -r "${root:?}/$2"
	;;
esac
`

// bench is a machine on a directory.
type bench struct {
	*machine
	t      *testing.T
	dir    string
	screen *sink
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir+"/bin/runc", runc, 0o755)
	write(t, dir+"/runc/calls", "", 0o644)
	write(t, dir+"/logs/.keep", "", 0o644)
	write(t, dir+"/mountinfo", "22 1 0:5 / / rw - tmpfs none rw\n23 22 8:0 / /d rw - ext4 /dev/sda rw\n", 0o644)
	procs := proc.New()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	procs.Watch(ctx)
	screen := &sink{}
	return &bench{t: t, dir: dir, screen: screen, machine: &machine{
		console: NewConsole(screen), procs: procs, containers: dir + "/containers", logs: dir + "/logs", mounts: dir + "/mountinfo",
		runc:  container.Runc{Path: dir + "/bin/runc", Root: dir + "/runc", Procs: procs},
		state: newState(dir+"/report.json", dir+"/disks", func(string, string) error { return nil }),
	}}
}

// add puts a container into a section.
func (b *bench) add(section, name, script, annotations string) {
	b.t.Helper()
	dir := filepath.Join(b.containers, section, name)
	write(b.t, dir+"/config.json", `{"ociVersion":"1.0.2","annotations":{`+annotations+`}}`, 0o644)
	write(b.t, dir+"/run", script, 0o644)
}

// says waits until the console shows the text.
func (b *bench) says(text string) {
	b.t.Helper()
	b.until("the console says "+text, func() bool { return strings.Contains(b.screen.String(), text) })
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s; console:\n%s", what, b.screen)
		}
	}
}

// calls are runc's, without options.
func (b *bench) calls(cmd string) []string {
	b.t.Helper()
	data, err := os.ReadFile(b.dir + "/runc/calls")
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[0] == cmd {
			out = append(out, strings.TrimPrefix(f[len(f)-1], "lkv."))
		}
	}
	return out
}

func (b *bench) report() report.Report {
	b.t.Helper()
	var r report.Report
	if err := readJSON(b.dir+"/report.json", &r); err != nil {
		b.t.Fatal(err)
	}
	return r
}
