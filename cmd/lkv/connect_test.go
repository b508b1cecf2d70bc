package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

func TestConnectionComesFromBlockThenEnvironment(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "pw")
	if err := os.WriteFile(secret, []byte("filed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	block := specs.Spec{Dir: dir, VCenters: []specs.VCenter{
		{Name: "main", URL: "https://block", Username: "bu", Password: specs.NewSecret("bp"), CAFile: "ca.pem"},
		{Name: "half", URL: "https://half", Thumbprint: "AB"},
		{Name: "empty"},
	}}
	govc := map[string]string{"GOVC_URL": "gu:gp@govc", "GOVC_INSECURE": "1", "GOVC_TLS_CA_CERTS": "g.pem"}
	lkv := map[string]string{"LKV_VCENTER_URL": "https://lkv/sdk", "LKV_VCENTER_USERNAME": "lu", "LKV_VCENTER_PASSWORD": "lp"}
	for name, tc := range map[string]struct {
		block string
		env   map[string]string
		want  vsphere.Config
	}{
		"block":           {"main", join(govc, lkv), vsphere.Config{URL: "https://block", Username: "bu", Password: "bp", CAFile: filepath.Join(dir, "ca.pem")}},
		"half a block":    {"half", lkv, vsphere.Config{URL: "https://half", Username: "lu", Password: "lp", Thumbprint: "AB"}},
		"lkv before govc": {"", join(govc, lkv), vsphere.Config{URL: "https://lkv/sdk", Username: "lu", Password: "lp", CAFile: "g.pem"}},
		"empty block":     {"empty", lkv, vsphere.Config{URL: "https://lkv/sdk", Username: "lu", Password: "lp"}},
		"govc":            {"", govc, vsphere.Config{URL: "https://govc", Username: "gu", Password: "gp", CAFile: "g.pem", Insecure: true}},
		"password file": {"", map[string]string{"LKV_VCENTER_URL": "lkv", "LKV_VCENTER_USERNAME": "lu", "LKV_VCENTER_PASSWORD_FILE": secret},
			vsphere.Config{URL: "https://lkv", Username: "lu", Password: "filed"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := system{Env: tc.env, Version: "dev"}.connection(block, tc.block)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.UserAgent = "lkv/dev"
			if d := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(vsphere.Config{}, "Trace", "Wrap")); d != "" {
				t.Error(d)
			}
		})
	}
}

func join(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// Whatever is missing or wrong, the message names a remedy and no password.
func TestConnectionErrorsNameARemedyAndNoPassword(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"LKV_VCENTER_URL or GOVC_URL": {},
		"LKV_VCENTER_PASSWORD_FILE":   {"LKV_VCENTER_URL": "https://x"},
		"is no address":               {"GOVC_URL": "https://root:hunter2@bad host%zz"},
		"read secret":                 {"LKV_VCENTER_URL": "https://x", "LKV_VCENTER_PASSWORD_FILE": "/none/such"},
	} {
		_, err := system{Env: env}.connection(specs.Spec{}, "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: %v, want %q", env, err, want)
		}
	}
}

// An interrupted run ends with 128 and the signal's number, whatever the command made of it.
func TestSignalsBecomeExitCodes(t *testing.T) {
	for sig, want := range map[string]int{"interrupt": 130, "terminate": 143} {
		var out, errs bytes.Buffer
		code := runInterrupted(t, sig, system{Args: []string{"lkv", "lab", "up", "--paper", "--dir", t.TempDir()}, Stdout: &out, Stderr: &errs})
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s%s", sig, code, want, &out, &errs)
		}
	}
}
