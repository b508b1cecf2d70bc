package specs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// senseSpec is right as it stands. Each row of TestWhatCannotBeMeant writes into one of its blocks.
const senseSpec = `
vcenter "main" {
  url      = "https://vc.example.net"
  username = "lkv"
  VCENTER
}
image "i" {
  linuxkit = ["i.yml"]
}
store "s" {
  datacenter = "DC1"
  datastore  = "iso"
}
fleet "f" {
  image = "i"
  size  = 3
  name  = "f-%d"
  placement {
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm"
  }
  vm {
    network "VM Network" {
      type = "vmxnet3"
    }
    VM
  }
  DRAIN
  ready {
    READY
  }
  rollout {
    ROLLOUT
  }
  FLEET
}
reconcile {
  RECONCILE
}
`

// senseDir is a spec's directory with the files that rows name.
func senseDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"i.yml", "ca.pem", "run.sh"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loadSense loads senseSpec with lines in one of its blocks, and returns problems and warnings alike, and the line that
// arg is written in.
func loadSense(t *testing.T, dir, block, lines, arg, more string) ([]Problem, int) {
	t.Helper()
	text := strings.Replace(senseSpec, block+"\n", lines+"\n", 1)
	for _, other := range []string{"VCENTER", "VM", "DRAIN", "READY", "ROLLOUT", "FLEET", "RECONCILE"} {
		text = strings.Replace(text, "  "+other+"\n", "\n", 1)
	}
	line := 1 + strings.Count(text[:strings.Index(text, arg+" ")+1], "\n")
	path := filepath.Join(dir, "lkv.hcl")
	if err := os.WriteFile(path, []byte(text+more), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, Options{Env: map[string]string{"PASSWORD": "hunter2"}})
	var wrong *Error
	if errors.As(err, &wrong) {
		return wrong.Problems, line
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Warnings, line
}

// What loads and cannot be meant is an error, what may be meant a warning, each exactly once and in its line; the same
// when a variable gives the value. Rows without text are the values next to them, which are right.
func TestWhatCannotBeMeant(t *testing.T) {
	const sha1, pair = "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:ab:cd:ef:01", ":AB:CD:EF:01:23:45:67:89:AB:CD:EF:01"
	dir := senseDir(t)
	for _, row := range []struct {
		block, beside string // beside: other arguments of the block
		arg, value    string
		warning       bool
		want          string
	}{
		{"ROLLOUT", `strategy = "blue-green"`, "surge", `0`, false, "write surge = 1"},
		{"ROLLOUT", `strategy = "blue-green"`, "surge", `"0%"`, false, "write surge = 1"},
		{"ROLLOUT", `strategy = "blue-green"`, "surge", `"1%"`, false, ""},
		{"ROLLOUT", `strategy = "blue-green"`, "surge", `null`, false, ""},
		{"ROLLOUT", `strategy = "blue-green"`, "max_unavailable", `0`, false, "disk = \"fresh\""},
		{"ROLLOUT", "strategy = \"blue-green\"\ndisk = \"fresh\"", "max_unavailable", `0`, false, ""},
		{"ROLLOUT", "", "canaries", `4`, true, "3 VMs, so every one would be a canary"},
		{"ROLLOUT", "", "canaries", `3`, false, ""},
		{"ROLLOUT", "", "max_failed", `4`, true, "would not stand still"},
		{"ROLLOUT", "", "max_failed", `3`, false, ""},
		{"ROLLOUT", "", "bake", `"5m"`, false, "write canaries = 1"},
		{"ROLLOUT", "canaries = 0", "bake", `"5m"`, true, "write canaries = 1"},
		{"ROLLOUT", "canaries = 1", "bake", `"5m"`, false, ""},
		{"ROLLOUT", "", "bake", `"0s"`, false, ""},
		{"ROLLOUT", "", "progress_deadline", `"0s"`, false, "leave it out for none"},
		{"ROLLOUT", "", "progress_deadline", `null`, false, ""},
		{"ROLLOUT", "", "progress_deadline", `"9m"`, true, "or a shorter timeout"},
		{"ROLLOUT", "", "progress_deadline", `"10m"`, false, ""},
		{"READY", `timeout = "1m"`, "settle", `"1m"`, true, "settle comes on top of timeout"},
		{"READY", `timeout = "1m"`, "settle", `"59s"`, false, ""},
		{"READY", "", "command", `["./gone.sh"]`, true, "There is no program " + filepath.Join(dir, "gone.sh")},
		{"READY", "", "command", `["./"]`, true, "There is no program " + dir},
		{"READY", "", "command", `["./run.sh", "x/y"]`, false, ""},
		{"READY", "", "command", `["gone.sh", "x/y"]`, false, ""},
		{"READY", "", "command", `["` + dir + `/run.sh"]`, false, ""},
		{"READY", "", "command", `["` + dir + `/gone.sh"]`, true, "There is no program " + filepath.Join(dir, "gone.sh")},
		{"DRAIN", "", "command", `["./gone.sh"]`, true, "There is no program " + filepath.Join(dir, "gone.sh")},
		{"DRAIN", "", "command", `["./run.sh"]`, false, ""},
		{"VCENTER", "", "thumbprint", `"zz"`, false, "32 pairs of hexadecimal digits"},
		{"VCENTER", "", "thumbprint", `"` + strings.ReplaceAll(sha1, ":", "") + `"`, false, "with colons between them"},
		{"VCENTER", "", "thumbprint", `"` + sha1 + `:00"`, false, "20 pairs for SHA-1"},
		{"VCENTER", "", "thumbprint", `"` + sha1 + `"`, false, ""},
		{"VCENTER", "", "thumbprint", `"` + sha1 + pair + `"`, false, ""},
		{"VCENTER", "", "ca_file", `"gone.pem"`, true, "There is no file " + filepath.Join(dir, "gone.pem")},
		{"VCENTER", "", "ca_file", `"."`, true, "There is no file " + dir},
		{"VCENTER", "", "ca_file", `""`, false, ""},
		{"VCENTER", "", "ca_file", `"ca.pem"`, false, ""},
		{"VCENTER", "", "password", `"hunter2"`, true, "write password = secret_file"},
		{"VCENTER", "", "password", `env("PASSWORD")`, false, ""},
		{"VCENTER", "", "password", `secret_file("gone")`, false, ""},
		{"VCENTER", "", "password", `""`, false, ""},
		{"VM", "", "guestinfo", `{ "" = "x" }`, false, "A key is empty"},
		{"VM", "", "guestinfo", `{ "GuestInfo.role" = "x" }`, false, `write "role"`},
		{"VM", "", "guestinfo", `{ "LKV.report" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "guestinfo", `{ "lkv.token" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "guestinfo", `{ "lkv.hostname" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "guestinfo", `{ "lkv.prove" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "guestinfo", `{ "lkv.role" = "x" }`, false, ""},
		{"VM", "", "extra_config", `{ " " = "x" }`, false, "A key is empty"},
		{"VM", "", "extra_config", `{ "disk.EnableUUID" = "false" }`, false, "is always TRUE"},
		{"VM", "", "extra_config", `{ "disk.EnableUUID" = "true" }`, false, ""},
		{"VM", "", "extra_config", `{ "uefi.secureBoot.dbDefault.file0" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "extra_config", `{ "UEFI.secureboot.DBDefault.file12" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "extra_config", `{ "uefi.secureBoot.dbDefault.append" = "FALSE" }`, false, ""},
		{"VM", "", "extra_config", `{ "lkv.record" = "x" }`, false, "written by lkv itself"},
		{"VM", "", "guest_id", `"Debian 12"`, true, "no identifier of vSphere"},
		{"VM", "", "guest_id", `"linux"`, true, "no identifier of vSphere"},
		{"VM", "", "guest_id", `"otherGuest64"`, false, ""},
		{"VM", "", "guest_id", `"vmwarePhoton64Guest"`, false, ""},
		{"FLEET", "", "max_age", `"0s"`, false, "leave it out for never"},
		{"FLEET", "", "max_age", `"59m"`, false, `at least "1h"`},
		{"FLEET", "", "max_age", `"1h"`, false, ""},
		{"FLEET", "", "max_age", `null`, false, ""},
		{"RECONCILE", "", "claim_ttl", `"29s"`, false, "shorter than 30s"},
		{"RECONCILE", "", "claim_ttl", `"30s"`, false, ""},
		{"RECONCILE", "", "claim_ttl", `"1h"`, false, ""},
		{"RECONCILE", "", "claim_ttl", `"61m"`, false, `at most "1h"`},
		{"RECONCILE", "", "interval", `"0s"`, false, "Without a pause"},
		{"RECONCILE", "", "interval", `"9s"`, true, "A look every 9s"},
		{"RECONCILE", "", "interval", `"10s"`, false, ""},
	} {
		for written, more := range map[string]string{
			row.value: "", "var.x": fmt.Sprintf("variable \"x\" {\n  default = %s\n}\n", row.value), "local.x": fmt.Sprintf("locals {\n  x = %s\n}\n", row.value),
		} {
			name := fmt.Sprintf("%s %s = %s as %s", row.block, row.arg, row.value, written)
			lines := row.beside + "\n" + row.arg + " = " + written
			if row.block == "DRAIN" {
				lines = "drain {\n" + lines + "\n}"
			}
			got, line := loadSense(t, dir, row.block, lines, "\n"+row.arg, more)
			switch {
			case row.want == "" && len(got) > 0:
				t.Errorf("%s: %v", name, got)
			case row.want == "":
			case len(got) != 1 || got[0].Warning != row.warning || !strings.Contains(got[0].Detail, row.want):
				t.Errorf("%s: %+v, want %q, warning %v", name, got, row.want, row.warning)
			case got[0].Pos.Line != line || got[0].Source == "" || strings.Contains(got[0].String(), "hunter2"):
				t.Errorf("%s: at %s, want line %d:\n%s", name, got[0].Pos, line, got[0])
			}
		}
	}
}

// Missing LinuxKit YAML is reported where its name stands, with everything else; alone it keeps nobody from reconciling.
func TestMissingYAMLIsReportedWithTheRest(t *testing.T) {
	dir := senseDir(t)
	path := filepath.Join(dir, "lkv.hcl")
	load := func(text string) (Spec, string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(path, Options{})
		if err == nil {
			return s, ""
		}
		return s, strings.ReplaceAll(err.Error(), dir+"/", "")
	}
	const list, one = "image \"a\" {\n  linuxkit = [\"i.yml\",\n    \"gone.yml\"]\n}\n", "variable \"x\" {\n  default = [\"gone.yml\"]\n}\nimage \"a\" {\n  linuxkit = var.x\n}\n"
	for text, at := range map[string]Pos{list: {path, 3, 5}, one: {path, 5, 14}} {
		s, wrong := load(text)
		if wrong != "" || len(s.Warnings) > 0 || s.Images[0].Written[len(s.Images[0].Written)-1] != at {
			t.Errorf("%s: %s, %+v", text, wrong, s)
		}
		_, wrong = load(text + "reconcile {\n  claim_ttl = \"1s\"\n  interval = \"1s\"\n}\n")
		where := fmt.Sprintf("lkv.hcl:%d:%d: Unreadable LinuxKit YAML", at.Line, at.Column)
		if !strings.Contains(wrong, where) || !strings.Contains(wrong, "There is no gone.yml: write the file") ||
			!strings.Contains(wrong, ": warning: Doubtful value for interval") || !strings.HasSuffix(wrong, "2 problems, 1 warning") {
			t.Errorf("%s: %s, want %s and two more", text, wrong, where)
		}
	}
}

// Whoever reads the spec reads a password in the URL, too. What is given from outside stands in no file.
func TestPasswordsFromOutsideAreNotInClear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lkv.hcl")
	text := "variable \"pw\" {\n  default = \"\"\n}\nvcenter \"a\" {\n  url = \"https://u:hunter2@vc.example.net\"\n}\n" +
		"vcenter \"b\" {\n  url = \"https://${var.pw}u:${var.pw}@vc.example.net\"\n}\nvcenter \"c\" {\n  password = var.pw\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, vars := range []map[string]string{nil, {"pw": ""}, {"pw": "x"}} {
		s, err := Load(path, Options{Vars: vars})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Warnings) != 1 || s.Warnings[0].Pos.Line != 5 || strings.Contains(s.Warnings[0].String(), "hunter2") {
			t.Errorf("%v: %v", vars, s.Warnings)
		} else if text := (&Error{s.Warnings}).Error(); !strings.HasSuffix(text, "\n\n1 warning") {
			t.Error(text)
		}
	}
}

// One mistake is one problem: a name that is there twice makes no second fleet, and a fleet of no VMs is too small for nothing.
func TestOneMistakeIsOneProblem(t *testing.T) {
	const fleet = "fleet \"w\" {\n  image = \"i\"\n  placement {\n    datastore = \"vm\"\n  }\n"
	dir := senseDir(t)
	for lines, want := range map[string]string{
		"names = [\"a\", \"a\"]":                                                    "is there twice",
		"names = [\"a\", \"b\"]":                                                    "",
		"names = [\"a\"]\n}\n" + fleet + "names = [\"a\"]":                          "There is already fleet \"w\"",
		"size = 1\nname = \"f-%d\"\n}\n" + fleet + "size = 1\nname = \"f-%d\"":      "There is already fleet \"w\"",
		"size = 0\nname = \"f-%d\"\nrollout {\n  canaries = 2\n  max_failed = 2\n}": "",
		"size = 1\nname = \"f-%d\"\nvm {\n  network \"\" {}\n}":                     "No network has an empty name",
		"size = 1\nname = \"f-%d\"\nvm {\n  network \" \" {}\n}":                    "No network has an empty name",
	} {
		path := filepath.Join(dir, "lkv.hcl")
		text := "image \"i\" {\n  linuxkit = [\"i.yml\"]\n}\nstore \"s\" {\n  datastore = \"iso\"\n}\n" + fleet + lines + "\n}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(path, Options{})
		got := Problems(err)
		if want == "" && (err != nil || len(s.Warnings) > 0) || want != "" && (len(got) != 1 || !strings.Contains(got[0].Detail, want)) {
			t.Errorf("%s: %v, %v, want %q", lines, err, s.Warnings, want)
		}
	}
}
