package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/build/provenance"
	"github.com/lkv-io/lkv/specs"
)

// signer reads the key of --sign; nil without one.
func (s system) signer(c *cli.Context) (*provenance.Signer, error) {
	path := c.String("sign")
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of --sign: %w", err)
	}
	key, err := provenance.ParseSigner(text, []byte(s.Env["LKV_SIGN_PASSWORD"]))
	if err != nil {
		return nil, fmt.Errorf("read the key of --sign, %s: %w", path, err)
	}
	return &key, nil
}

// secureBoot reads key and certificate of the flags, else of the image's secure_boot block; nil without either.
func secureBoot(c *cli.Context, spec specs.Spec, img specs.Image) (*iso.Signer, error) {
	key, cert := c.String("secure-boot-key"), c.String("secure-boot-cert")
	if (key == "") != (cert == "") {
		return nil, usagef("--secure-boot-key and --secure-boot-cert go together: give both")
	}
	if key == "" && img.SecureBoot != nil {
		key, cert = beside(spec, img.SecureBoot.Key), beside(spec, img.SecureBoot.Certificate)
	}
	if key == "" {
		return nil, nil
	}
	k, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("image %s: read Secure Boot key: %w", img.Name, err)
	}
	x, err := os.ReadFile(cert)
	if err != nil {
		return nil, fmt.Errorf("image %s: read Secure Boot certificate: %w", img.Name, err)
	}
	signer, err := iso.ReadSigner(k, x)
	if err != nil {
		return nil, fmt.Errorf("image %s: %s, %s: %w", img.Name, key, cert, err)
	}
	return signer, nil
}

// beside makes a path that a spec names one that this program can open: relative ones start at the spec.
func beside(spec specs.Spec, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(spec.Dir, path)
}
