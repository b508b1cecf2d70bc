package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/build/provenance"
	"github.com/lkv-io/lkv/internal/golden"
	"github.com/lkv-io/lkv/internal/manifest"
)

// published is what a signed build leaves in its directory.
type published struct {
	t        *testing.T
	dir      string
	base     string // path without ending
	manifest manifest.Manifest
}

// keys of the tests: the same each time, so that what is printed is.
func testKey(t *testing.T, fill byte) (provenance.Signer, []byte) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{fill}, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := provenance.ParseSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func publish(t *testing.T) *published {
	t.Helper()
	dir := t.TempDir()
	p := &published{t: t, dir: dir, base: filepath.Join(dir, "worker-0123456789ab")}
	p.write(".iso", "bootable")
	p.write(".spdx.json", "{}")
	_, public := testKey(t, 1)
	_, other := testKey(t, 2)
	p.write("-key.pem", string(public))
	p.write("-other.pem", string(other))
	if err := os.WriteFile(filepath.Join(dir, "worker.json"), []byte(`{"iso":"worker-0123456789ab.iso"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	statement := p.statement("bootable")
	p.manifest = manifest.Manifest{
		Format: manifest.Format, Image: "worker", ID: "sha256:01", ISO: fileOf("bootable"),
		Files: []manifest.Named{
			{Kind: "spdx", Name: "worker-0123456789ab.spdx.json", File: fileOf("{}")},
			{Kind: "provenance", Name: "worker-0123456789ab.provenance.json", File: fileOf(written(t, statement))},
		},
	}
	p.sign(1)
	p.envelope(statement, 1)
	return p
}

func fileOf(text string) manifest.File {
	sum := sha256.Sum256([]byte(text))
	return manifest.File{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(text))}
}

func written(t *testing.T, s provenance.Statement) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (p *published) write(ending, content string) {
	p.t.Helper()
	if err := os.WriteFile(p.base+ending, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *published) remove(ending string) {
	p.t.Helper()
	if err := os.Remove(p.base + ending); err != nil {
		p.t.Fatal(err)
	}
}

func (p *published) statement(iso string) provenance.Statement {
	return provenance.Build{Builder: "https://ci.test", Outputs: []provenance.Resource{provenance.File("", "worker.iso", fileOf(iso).SHA256)}}.Statement()
}

// sign writes the manifest and its signature.
func (p *published) sign(key byte) {
	p.t.Helper()
	var b bytes.Buffer
	if err := p.manifest.Write(&b); err != nil {
		p.t.Fatal(err)
	}
	signer, _ := testKey(p.t, key)
	sig, err := signer.Detached(b.Bytes())
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(".manifest.json", b.String())
	p.write(".manifest.json.sig", string(sig))
}

func (p *published) envelope(s provenance.Statement, key byte) {
	p.t.Helper()
	signer, _ := testKey(p.t, key)
	env, err := signer.Envelope(context.Background(), s)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(".provenance.dsse.json", string(env))
}

// verify runs the command and returns what it prints on both sides and its exit code.
func (p *published) verify(args ...string) (stdout, stderr string, code int) {
	var out, err bytes.Buffer
	s := system{Args: append([]string{"lkv", "verify-image"}, args...), Stdout: &out, Stderr: &err, Env: map[string]string{}, Now: time.Now}
	code = run(context.Background(), s)
	return strings.ReplaceAll(out.String(), p.dir, "DIR"), strings.ReplaceAll(err.String(), p.dir, "DIR"), code
}

// Every way in which a published image can be wrong is one page of the golden file.
func TestVerifyImage(t *testing.T) {
	var all strings.Builder
	for _, tc := range []struct {
		name string
		harm func(*published)
		code int
		args []string
	}{
		{name: "as built", code: 0},
		{name: "statement beside its envelope", code: 0, harm: func(p *published) { p.write(".provenance.json", written(p.t, p.statement("bootable"))) }},
		{name: "two keys, one of them right", code: 0, args: []string{"--key", "OTHER", "--key", "KEY"}},
		{name: "digests only", code: 0, args: []string{"--digests-only"}},
		{name: "no key", code: 1, args: []string{"--iso", "ISO"}},
		{name: "as JSON", code: 0, args: []string{"--key", "KEY", "--json"}},
		{name: "another key", code: 1, args: []string{"--key", "OTHER"}},
		{name: "ISO changed", code: 1, harm: func(p *published) { p.write(".iso", "b00table") }},
		{name: "ISO cut", code: 1, harm: func(p *published) { p.write(".iso", "boot") }},
		{name: "ISO and manifest changed", code: 1, harm: func(p *published) {
			p.write(".iso", "b00table")
			p.manifest.ISO = fileOf("b00table")
			p.sign(2)
		}},
		{name: "ISO gone", code: 1, harm: func(p *published) { p.remove(".iso") }},
		{name: "manifest gone", code: 1, harm: func(p *published) { p.remove(".manifest.json") }},
		{name: "manifest is none", code: 1, harm: func(p *published) { p.write(".manifest.json", "<html>") }},
		{name: "manifest with a space more", code: 1, harm: func(p *published) {
			b, err := os.ReadFile(p.base + ".manifest.json")
			if err != nil {
				t.Fatal(err)
			}
			p.write(".manifest.json", string(b)+" ")
		}},
		{name: "nothing signed", code: 1, harm: func(p *published) { p.remove(".manifest.json.sig"); p.remove(".provenance.dsse.json") }},
		{name: "signature is none", code: 1, harm: func(p *published) { p.write(".manifest.json.sig", "<html>") }},
		{name: "envelope is none", code: 1, harm: func(p *published) { p.write(".provenance.dsse.json", "<html>") }},
		{name: "envelope of another ISO", code: 1, harm: func(p *published) { p.envelope(p.statement("other"), 1) }},
		{name: "envelope of another key", code: 1, harm: func(p *published) { p.envelope(p.statement("bootable"), 2) }},
		{name: "SBOM changed", code: 1, harm: func(p *published) { p.write(".spdx.json", "[]") }},
		{name: "SBOM gone", code: 1, harm: func(p *published) { p.remove(".spdx.json") }},
		{name: "manifest names files elsewhere", code: 1, harm: func(p *published) {
			p.manifest.Files = []manifest.Named{{Name: "../secret"}, {Name: ".."}, {Name: ""}, {Name: "a\x1b[2Jb"}}
			p.sign(1)
		}},
	} {
		p := publish(t)
		if tc.harm != nil {
			tc.harm(p)
		}
		if tc.args == nil {
			tc.args = []string{"--key", "KEY"}
		}
		args := strings.Split(strings.NewReplacer("KEY", p.base+"-key.pem", "OTHER", p.base+"-other.pem", "ISO", p.base+".iso").Replace(strings.Join(tc.args, "\n")), "\n")
		if tc.args[0] != "--iso" {
			args = append([]string{"--image", "worker", "--out", p.dir}, args...)
		}
		stdout, stderr, code := p.verify(args...)
		if code != tc.code {
			t.Errorf("%s: exit code %d, want %d", tc.name, code, tc.code)
		}
		fmt.Fprintf(&all, "## %s: exit %d\n%s%s\n", tc.name, code, stdout, stderr)
	}
	golden.Check(t, "testdata/verify_image.txt", all.String())
}

func TestVerifyImageUsage(t *testing.T) {
	p := publish(t)
	if err := os.Truncate(p.base+"-other.pem", maxSidecar+1); err != nil {
		t.Fatal(err)
	}
	iso, key := p.base+".iso", p.base+"-key.pem"
	for _, tc := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "either an ISO with --iso or an image", nil},
		{exitUsage, "either an ISO with --iso or an image", []string{"--iso", iso, "--image", "worker"}},
		{exitUsage, "contradict each other", []string{"--iso", iso, "--digests-only", "--key", key}},
		{exitUsage, "takes no arguments", []string{"--digests-only", iso}},
		{exitError, "there is no ISO of image other in DIR", []string{"--image", "other", "--out", p.dir, "--key", key}},
		{exitError, "no such file", []string{"--iso", iso, "--key", "none.pem"}},
		{exitError, "there is no PEM public key in it", []string{"--iso", iso, "--key", iso}},
		{exitError, "has more than 67108864 bytes", []string{"--iso", iso, "--key", p.base + "-other.pem"}},
	} {
		_, stderr, code := p.verify(tc.args...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%v: exit code %d, want %d; %s", tc.args, code, tc.code, stderr)
		}
	}
}

// A file of any length is read until somebody has had enough.
func TestVerifyImageStops(t *testing.T) {
	p := publish(t)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	v := &verification{ISO: p.base + ".iso", base: p.base}
	if err := v.run(ctx); err == nil || v.OK {
		t.Errorf("%v, OK %v", err, v.OK)
	}
}

func TestVerifyImageJSON(t *testing.T) {
	p := publish(t)
	stdout, _, _ := p.verify("--iso", p.base+".iso", "--json")
	var v verification
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || !v.OK || v.Authenticated || len(v.Checks) != 4 {
		t.Errorf("%v %+v", err, v)
	}
}
