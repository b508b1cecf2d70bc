package qemu

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKVMNeedsTheCPUFlag(t *testing.T) {
	for name, tc := range map[string]struct {
		cpuinfo string
		want    bool
	}{
		"intel":    {"processor: 0\nflags\t\t: fpu vmx sse\n", true},
		"amd":      {"flags\t\t: fpu svm\n", true},
		"none":     {"flags\t\t: fpu sse svmx\nmodel name: vmx\n", false},
		"no flags": {"", false},
	} {
		if got := flagged([]byte(tc.cpuinfo)); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestArguments(t *testing.T) {
	c, err := Config{
		Name: "wrk-01", Dir: "d", Firmware: EFI, ISO: "a,b.iso",
		Kernel: "k", Initrd: "i,j", Cmdline: "quiet a=b,c",
		Disks: []Disk{{Path: "x.vmdk", Serial: "6000c29"}, {Path: "y", Controller: "nvme"}, {Path: "z"},
			{Path: "u", Controller: "usb", Boot: true, Snapshot: true}, {Path: "v", Controller: "virtio", Boot: true}},
		NICs:      []NIC{{MAC: "00:50:56:00:00:01", Socket: "net.sock"}, {}},
		Guestinfo: map[string]string{"guestinfo.b": "2", "guestinfo.a": "1"},
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(args(c, "s", false), " ")
	for _, want := range []string{
		"-accel tcg,thread=multi -cpu qemu64,-cx16",
		"file=a,,b.iso -device ide-cd,drive=cd0,bootindex=0,bus=ide.0",
		"-device pvscsi,id=pvscsi -device scsi-hd,drive=disk0,bus=pvscsi.0,device_id=disk0,serial=6000c29",
		"-device nvme,drive=disk1,serial=nvme1",
		"-device scsi-hd,drive=disk2,bus=pvscsi.0,device_id=disk2",
		"-kernel k -append quiet a=b,c -initrd i,j",
		"snapshot=on,file=u -device qemu-xhci,id=usb -device usb-storage,bus=usb.0,removable=on,drive=disk3,bootindex=1",
		"file=v -device virtio-blk-pci,drive=disk4,bootindex=1",
		"-netdev stream,id=net0,server=off,addr.type=unix,addr.path=net.sock -device vmxnet3,netdev=net0,mac=00:50:56:00:00:01",
		"-netdev user,id=net1,restrict=on -device vmxnet3,netdev=net1",
		"-fw_cfg name=opt/lkv/guestinfo.a,file=d/guestinfo-0 -fw_cfg name=opt/lkv/guestinfo.b,file=d/guestinfo-1",
		"if=pflash,format=raw,file=d/nvram.fd",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("arguments lack %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "-device pvscsi,"); n != 1 {
		t.Errorf("%d pvscsi controllers for two disks, want 1", n)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{Firmware: "uefi"}, {Disks: []Disk{{Path: "x", Controller: "scsi"}}}, {SecureBoot: true}, {SecureBoot: true, Firmware: EFI, Machine: "pc"}} {
		if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: got error %v, want one that says what to use", c, err)
		}
	}
}

// bootSector is a disk whose boot sector prints the text on the first serial port and stops.
func bootSector(t *testing.T, text string) string {
	t.Helper()
	code := []byte{0xba, 0xf8, 0x03} // mov dx, 0x3f8
	for _, c := range []byte(text) {
		code = append(code, 0xb0, c, 0xee) // mov al, c; out dx, al
	}
	code = append(code, 0xf4, 0xeb, 0xfd) // hlt; jmp -3
	sector := make([]byte, 1<<20)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMachineRunsAndDies(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	m, err := Start(ctx, Config{Dir: dir, MemoryMiB: 64, Disks: []Disk{{Path: bootSector(t, "hello 42\n"), Controller: "ahci"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	got, at, err := m.WaitSerial(ctx, regexp.MustCompile(`hello \d+`), 0)
	if err != nil || got != "hello 42" {
		t.Fatalf("console: %q, %v", got, err)
	}
	if err := m.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.WaitSerial(ctx, regexp.MustCompile(`hello`), at); err != nil {
		t.Errorf("after reset: %v", err)
	}
	shot := filepath.Join(dir, "screen.png")
	if err := m.Screenshot(ctx, shot); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(shot); err != nil || fi.Size() == 0 {
		t.Errorf("screenshot: %v, %v", fi, err)
	}
	sock := m.sock
	m.Kill()
	m.Kill() // a second time is harmless
	if m.Err() == nil {
		t.Error("a killed machine reports no error")
	}
	if _, err := os.Stat(sock); !os.IsNotExist(err) {
		t.Errorf("socket directory is left: %v", err)
	}
	if _, _, err := m.WaitSerial(ctx, regexp.MustCompile("never"), 0); err == nil || !strings.Contains(err.Error(), "hello 42") {
		t.Errorf("waiting on a dead machine: got %v, want an error with the console's end", err)
	}
}

func TestStartShowsWhatQEMUSays(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := Start(ctx, Config{Dir: t.TempDir(), ISO: "there-is-no-such.iso"})
	if err == nil || !strings.Contains(err.Error(), "there-is-no-such.iso") {
		t.Errorf("got %v, want the name of the missing file", err)
	}
}

// fakeAgent answers like a guest agent that still has one stale reply of an earlier client in the line.
func fakeAgent(t *testing.T, answer func(command string, args map[string]any) any) *Agent {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveAgent(c, answer)
		}
	}()
	return &Agent{path: path, mu: new(sync.Mutex)}
}

func serveAgent(c net.Conn, answer func(string, map[string]any) any) {
	defer c.Close()
	_, _ = c.Write([]byte("{\"return\": {\"stale\": true}}\n"))
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var req struct {
			Execute   string         `json:"execute"`
			Arguments map[string]any `json:"arguments"`
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(string(line), "\xff")), &req) != nil {
			return
		}
		if req.Execute == "guest-sync-delimited" {
			b, _ := json.Marshal(map[string]any{"return": req.Arguments["id"]})
			_, _ = c.Write(append(append([]byte{0xff}, b...), '\n'))
			continue
		}
		b, _ := json.Marshal(answer(req.Execute, req.Arguments))
		_, _ = c.Write(append(b, '\n'))
	}
}

func ret(v any) any { return map[string]any{"return": v} }

func TestAgent(t *testing.T) {
	polls := 0
	a := fakeAgent(t, func(cmd string, args map[string]any) any {
		switch cmd {
		case "guest-ping", "guest-file-close":
			return ret(map[string]any{})
		case "guest-get-host-name":
			return ret(map[string]any{"host-name": "wrk-01"})
		case "guest-network-get-interfaces":
			return ret([]any{map[string]any{"name": "eth0", "hardware-address": "00:50:56:00:00:01", "ip-addresses": []any{
				map[string]any{"ip-address-type": "ipv4", "ip-address": "192.168.127.3"},
				map[string]any{"ip-address-type": "ipv6", "ip-address": "fe80::1"}}}})
		case "guest-file-open":
			if args["path"] != "/run/x" {
				return map[string]any{"error": map[string]any{"class": "GenericError", "desc": "no such file"}}
			}
			return ret(7)
		case "guest-file-read":
			return ret(map[string]any{"buf-b64": base64.StdEncoding.EncodeToString([]byte("content"))})
		case "guest-exec":
			return ret(map[string]any{"pid": 12})
		case "guest-exec-status":
			polls++
			if polls == 1 {
				return ret(map[string]any{"exited": false})
			}
			return ret(map[string]any{"exited": true, "exitcode": 3, "out-data": base64.StdEncoding.EncodeToString([]byte("out"))})
		}
		return map[string]any{"error": map[string]any{"class": "CommandNotFound", "desc": cmd}}
	})
	ctx := t.Context()
	if err := a.Ping(ctx); err != nil {
		t.Error(err)
	}
	if h, err := a.Hostname(ctx); err != nil || h != "wrk-01" {
		t.Errorf("host name %q, %v", h, err)
	}
	ifs, err := a.Interfaces(ctx)
	want := []Interface{{Name: "eth0", MAC: "00:50:56:00:00:01", IPv4: []string{"192.168.127.3"}, IPv6: []string{"fe80::1"}}}
	if d := cmp.Diff(want, ifs); err != nil || d != "" {
		t.Errorf("interfaces: %v %s", err, d)
	}
	if b, err := a.ReadFile(ctx, "/run/x"); err != nil || string(b) != "content" {
		t.Errorf("read: %q, %v", b, err)
	}
	if _, err := a.ReadFile(ctx, "/nope"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("read of a missing file: %v", err)
	}
	res, err := a.Exec(ctx, "/bin/x", "1")
	if d := cmp.Diff(ExecResult{Code: 3, Stdout: "out"}, res); err != nil || d != "" {
		t.Errorf("exec: %v %s", err, d)
	}
}

func TestAgentThatDoesNotAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := (&Agent{path: path, mu: new(sync.Mutex)}).Ping(ctx); err == nil {
		t.Error("a silent agent answered")
	}
}

func TestOwnFirmwareVariables(t *testing.T) {
	own := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(own, []byte("keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{Dir: t.TempDir(), Firmware: EFI, Vars: own}
	if err := prepare(c); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(nvram(c)); err != nil || string(got) != "keys" {
		t.Errorf("variables: %q, %v", got, err)
	}
}
