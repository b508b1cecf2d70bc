package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build/provenance"
	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
)

// What lies beside <base>.iso.
const (
	manifestEnding  = ".manifest.json"
	signatureEnding = ".manifest.json.sig"
	statementEnding = ".provenance.json"
	envelopeEnding  = ".provenance.dsse.json"
)

// maxSidecar bounds every file that is read whole before anybody vouches for it, in bytes.
const maxSidecar = 64 << 20

const verifyImageHelp = `Keys are PEM files, Ed25519 or ECDSA P-256. openssl makes them:

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out pub.pem

Without --key only digests are compared. That finds damage, but no forgery: whoever can change the ISO can change its
manifest too. With ECDSA keys cosign reads the same signature:

    cosign verify-blob --key pub.pem --signature NAME.manifest.json.sig NAME.manifest.json`

func (s system) verifyImageCommand() *cli.Command {
	return &cli.Command{
		Name: "verify-image", Usage: "check that an ISO and what lies beside it are whole, belong together and are signed",
		Description: verifyImageHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "iso", Usage: "check the ISO `FILE`"},
			&cli.StringFlag{Name: "image", Usage: "check the newest ISO of the image `NAME`"},
			&cli.StringFlag{Name: "out", Value: "dist", Usage: "`DIR` that lkv build wrote into"},
			&cli.StringSliceFlag{Name: "key", Usage: "trust signatures of the public key in `FILE`; may be repeated"},
			&cli.BoolFlag{Name: "digests-only", Usage: "be content with digests; nothing is authenticated"},
		},
		Action: s.verifyImage,
	}
}

// verification is the JSON of verify-image.
type verification struct {
	ISO           string  `json:"iso"`
	OK            bool    `json:"ok"`            // every check held
	Authenticated bool    `json:"authenticated"` // and a key vouches for it
	Checks        []check `json:"checks"`

	base string // path of the ISO without its ending
	keys []provenance.Verifier
}

// check is one row of the result.
type check struct {
	File   string `json:"file"`
	Check  string `json:"check"`
	Result string `json:"result"` // checkOK, checkMissing or checkBad
	Detail string `json:"detail,omitempty"`
}

const (
	checkOK      = "ok"
	checkMissing = "MISSING"
	checkBad     = "BAD"
)

func (s system) verifyImage(c *cli.Context) error {
	v, err := newVerification(c)
	if err != nil {
		return err
	}
	if err := v.run(c.Context); err != nil {
		return err
	}
	if err := s.printVerification(c, v); err != nil {
		return err
	}
	if !v.OK {
		return fmt.Errorf("%s is not what was built: see above", filepath.Base(v.ISO))
	}
	if !v.Authenticated && !given(c, "digests-only") {
		return errors.New("no key was given, so nothing was authenticated: give --key, or be content with --digests-only")
	}
	return nil
}

// newVerification reads the flags and the keys they name.
func newVerification(c *cli.Context) (*verification, error) {
	v := &verification{ISO: c.String("iso")}
	if (c.String("iso") == "") == (c.String("image") == "") {
		return nil, usagef("name either an ISO with --iso or an image with --image")
	}
	if given(c, "digests-only") && len(texts(c, "key")) > 0 {
		return nil, usagef("--digests-only and --key contradict each other: write one of them")
	}
	if c.String("image") != "" {
		iso, err := newestISO(c.String("out"), c.String("image"))
		if err != nil {
			return nil, err
		}
		v.ISO = iso
	}
	v.base = strings.TrimSuffix(v.ISO, ".iso")
	for _, path := range texts(c, "key") {
		text, err := sidecar(path)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		k, err := provenance.ParseVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		v.keys = append(v.keys, k)
	}
	return v, nil
}

// run makes every check. The error is a cancelled context's; what is wrong with the image is a row.
func (v *verification) run(ctx context.Context) error {
	text, m, ok := v.manifest()
	if ok {
		v.file(ctx, v.ISO, "manifest", m.ISO)
		if len(v.keys) > 0 {
			v.signature(text)
			v.provenance(ctx, m.ISO.SHA256)
		}
		for _, f := range m.Files {
			if filepath.Base(v.base) == m.ISO.SHA256 { // on a store, where files are named after the ISO
				ending, ok := push.EndingOf(f.Kind)
				if !ok {
					continue // it stayed where the ISO was built
				}
				f.Name = m.ISO.SHA256 + ending
			}
			v.named(ctx, f)
		}
	}
	v.OK = true
	for _, c := range v.Checks {
		v.OK = v.OK && c.Result == checkOK
	}
	v.Authenticated = v.OK && len(v.keys) > 0
	return ctx.Err()
}

// add notes the result of one check. A file that is not there is missing, any other error bad.
func (v *verification) add(path, what, detail string, err error) {
	c := check{File: filepath.Base(path), Check: what, Result: checkOK, Detail: detail}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Result, c.Detail = checkMissing, ""
	case err != nil:
		c.Result, c.Detail = checkBad, err.Error()
	}
	c.File, c.Detail = strings.Map(printable, c.File), strings.Map(printable, c.Detail)
	v.Checks = append(v.Checks, c)
}

// printable keeps what an unverified manifest says from steering the terminal.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

func (v *verification) manifest() ([]byte, manifest.Manifest, bool) {
	var m manifest.Manifest
	path := v.base + manifestEnding
	text, err := sidecar(path)
	if err == nil {
		m, err = manifest.Read(bytes.NewReader(text))
	}
	detail := ""
	if err == nil {
		detail = "image " + m.Image
	}
	v.add(path, "readable", detail, err)
	return text, m, err == nil
}

// signature checks who vouches for the manifest, exactly as its bytes were read before.
func (v *verification) signature(text []byte) {
	path := v.base + signatureEnding
	sig, err := sidecar(path)
	var k provenance.Verifier
	if err == nil {
		k, err = provenance.VerifyDetached(text, sig, v.keys)
	}
	v.add(path, "signature", signer(k), err)
}

func (v *verification) provenance(ctx context.Context, iso string) {
	path := v.base + envelopeEnding
	text, err := sidecar(path)
	var st provenance.Statement
	var k provenance.Verifier
	if err == nil {
		st, _, k, err = provenance.Open(ctx, text, v.keys)
	}
	v.add(path, "signature", signer(k), err)
	if err != nil {
		return
	}
	if !st.Names(iso) {
		err = errors.New("it is about another ISO")
	}
	v.add(path, "subject", "built by "+st.Predicate.Run.Builder.ID, err)
}

// signer names a key in a row.
func signer(k provenance.Verifier) string {
	if k.ID() == "" {
		return ""
	}
	return "key " + k.ID()[:12]
}

func (s system) printVerification(c *cli.Context, v *verification) error {
	if given(c, "json") {
		return s.printJSON(v)
	}
	var rows [][]string
	for _, k := range v.Checks {
		rows = append(rows, []string{k.File, k.Check, k.Result, k.Detail})
	}
	if err := ui.Table(s.Stdout, s.style(), []string{"FILE", "CHECK", "RESULT", "DETAIL"}, rows); err != nil {
		return err
	}
	last := "something is wrong"
	switch {
	case v.Authenticated:
		last = "whole and signed"
	case v.OK:
		last = "whole, but nothing was authenticated: whoever can change the ISO can change its manifest"
	}
	_, err := fmt.Fprintf(s.Stdout, "%s: %s\n", filepath.Base(v.ISO), last)
	return err
}
