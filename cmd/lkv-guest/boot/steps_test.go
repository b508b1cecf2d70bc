package boot

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/report"
)

const required = `"lkv.required":"true"`

func TestOnbootInOrder(t *testing.T) {
	b := newBench(t)
	b.add("onboot", "001-second", "echo two >&2", required)
	b.add("onboot", "000-first", "echo one", required)
	if err := b.onboot(t.Context()); err != nil {
		t.Error(err)
	}
	b.console.Flush(time.Second)
	if got := b.screen.String(); got != "000-first: one\n001-second: two\n" {
		t.Errorf("console %q", got)
	}
	if d := cmp.Diff([]string{"000-first", "001-second"}, b.calls("delete")); d != "" {
		t.Errorf("containers left behind: %s", d)
	}
	if data, _ := os.ReadFile(b.dir + "/logs/onboot.000-first.log"); string(data) != "one\n" {
		t.Errorf("log %q", data)
	}
}

// TestRequiredStopsTheBoot: what comes after a failed required step does not run, and the reason has its last words.
func TestRequiredStopsTheBoot(t *testing.T) {
	b := newBench(t)
	b.add("onboot", "000-soft", "echo no matter; exit 3", "")
	b.add("onboot", "001-hard", "echo the disk is gone; exit 4", required)
	b.add("onboot", "002-after", "echo must not run", "")
	err := b.onboot(t.Context())
	if err == nil || err.Error() != "001-hard: exit status 4: the disk is gone" {
		t.Errorf("error %v", err)
	}
	b.says("000-soft: exit status 3: no matter (not required: the boot goes on)")
	if d := cmp.Diff([]string{"000-soft", "001-hard"}, b.calls("create")); d != "" {
		t.Error(d)
	}
}

// TestUnreadableStepStopsTheBoot: nobody knows whether it was required.
func TestUnreadableStepStopsTheBoot(t *testing.T) {
	b := newBench(t)
	write(t, b.containers+"/onboot/000-broken/config.json", "{", 0o644)
	if err := b.onboot(t.Context()); err == nil || !strings.Contains(err.Error(), "000-broken") {
		t.Errorf("error %v", err)
	}
}

func TestRequiredWithoutRuncStopsTheBoot(t *testing.T) {
	b := newBench(t)
	b.runc.Path = "/nonexistent/runc"
	b.add("onboot", "000-disk", "", required)
	if err := b.onboot(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestStopDuringOnboot: the step gets SIGTERM, and the boot ends without being called failed.
func TestStopDuringOnboot(t *testing.T) {
	b := newBench(t)
	b.add("onboot", "000-slow", "trap 'echo ended gently; exit 1' TERM\necho waiting\nwhile :; do sleep 0.05; done", required)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.onboot(ctx) }()
	b.says("000-slow: waiting")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	b.says("ended gently")
}

func TestDisksAreReported(t *testing.T) {
	b := newBench(t)
	b.add("onboot", "000-persist", "mkdir -p "+b.dir+"/disks\n"+
		`echo '{"mount":"/d","device":"/dev/sda","serial":"6000","mounted":true,"formatted":true}' >`+b.dir+"/disks/d.json", required)
	b.add("onboot", "001-other", "", "")
	if err := b.onboot(t.Context()); err != nil {
		t.Error(err)
	}
	b.console.Flush(time.Second)
	if n := strings.Count(b.screen.String(), "lkv: mounted /d /dev/sda serial=6000 formatted=true\n"); n != 1 {
		t.Errorf("said %d times: %s", n, b.screen)
	}
	if d := cmp.Diff([]report.Disk{{Mount: "/d", Device: "/dev/sda", Serial: "6000", Mounted: true, Formatted: true}}, b.report().Disks); d != "" {
		t.Error(d)
	}
}

// TestMountThatDidNotReachTheMachine: a persist step whose container lacks the shared bind mounts the disk for itself
// alone. The mount is gone with it, and services would write to memory.
func TestMountThatDidNotReachTheMachine(t *testing.T) {
	report := func(b *bench) string {
		return "mkdir -p " + b.dir + "/disks\n" + `echo '{"mount":"/srv","device":"/dev/sda","mounted":true}' >` + b.dir + "/disks/srv.json"
	}
	for name, mounts := range map[string]string{
		"nothing there": "22 1 0:5 / / rw - tmpfs none rw\n",
		"memory there":  "22 1 0:5 / / rw - tmpfs none rw\n23 22 0:6 / /srv rw - tmpfs none rw\n",
		"unreadable":    "?\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			write(t, b.mounts, mounts, 0o644)
			b.add("onboot", "000-persist", report(b), required)
			b.add("onboot", "001-after", "echo must not run", "")
			if err := b.onboot(t.Context()); err == nil {
				t.Error("the boot goes on")
			}
			if d := cmp.Diff([]string{"000-persist"}, b.calls("create")); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestUnlistableStepsStopTheBoot: what cannot be listed is not nothing; a required step may be among it.
func TestUnlistableStepsStopTheBoot(t *testing.T) {
	b := newBench(t)
	write(t, b.containers+"/onboot", "a file, not a directory", 0o644)
	if err := b.onboot(t.Context()); err == nil {
		t.Error("the boot goes on")
	}
}

const loop = "while :; do sleep 0.05; done"

// TestServicesStopInReverse: each one has ended before the one started earlier is asked, and a service that does not
// listen is killed after its grace.
func TestServicesStopInReverse(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a", "b", "c"} {
		b.add("services", name, "trap 'echo "+name+" >>"+b.dir+"/ended; exit 0' TERM\n: >"+b.dir+"/up-"+name+"\n"+loop, "")
	}
	b.add("services", "deaf", "trap '' TERM\n: >"+b.dir+"/up-deaf\n"+loop, `"lkv.grace":"1"`)
	b.startServices(false)
	for _, name := range []string{"a", "b", "c", "deaf"} {
		b.until(name+" runs", func() bool { _, err := os.Stat(b.dir + "/up-" + name); return err == nil })
	}
	began := time.Now()
	b.stopServices()
	if took := time.Since(began); took < time.Second || took > 15*time.Second {
		t.Errorf("took %s, want the deaf one's grace and little more", took)
	}
	if data, _ := os.ReadFile(b.dir + "/ended"); string(data) != "c\nb\na\n" {
		t.Errorf("ended %q", data)
	}
	for _, s := range b.report().Services {
		if s.State != "stopped" {
			t.Errorf("%+v", s)
		}
	}
}

func TestServiceIsStartedAgain(t *testing.T) {
	b := newBench(t)
	b.add("services", "dies", "echo last words; exit 7", "")
	b.startServices(false)
	b.says("lkv: service dies: ended with exit status 7: last words; starting again in 2s")
	if s := b.report().Services; len(s) != 1 || s[0].Restarts < 1 {
		t.Errorf("%+v", s)
	}
	b.stopServices()
	n := len(b.calls("create"))
	time.Sleep(100 * time.Millisecond)
	if n < 2 || len(b.calls("create")) != n {
		t.Errorf("%d starts, then %d", n, len(b.calls("create")))
	}
}

// TestOnlyAgentsAfterAStoppedBoot: nothing but what asks for it by annotation runs then.
func TestOnlyAgentsAfterAStoppedBoot(t *testing.T) {
	b := newBench(t)
	b.add("services", "agent", ": >"+b.dir+"/up\n"+loop, `"lkv.always":"true"`)
	b.add("services", "docker", loop, "")
	b.startServices(true)
	b.until("the agent runs", func() bool { _, err := os.Stat(b.dir + "/up"); return err == nil })
	b.stopServices()
	if got := b.calls("create"); !slices.Equal(got, []string{"agent"}) {
		t.Errorf("started %q", got)
	}
}

func TestScriptsRunAndFail(t *testing.T) {
	b := newBench(t)
	write(t, b.dir+"/init.d/010-bad", "#!/bin/sh\necho trouble; exit 2\n", 0o755)
	write(t, b.dir+"/init.d/020-good", "#!/bin/sh\necho fine\n", 0o755)
	b.runScripts(t.Context(), "init.d", b.dir+"/init.d")
	b.says("010-bad: trouble")
	b.says("init.d/010-bad: exit status 2")
	b.says("020-good: fine")
}
