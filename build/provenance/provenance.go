// Package provenance says how an ISO came to be, as an in-toto Statement v1 with a SLSA Provenance v1 predicate, and
// signs and verifies that statement and any other file with a key.
//
// It knows Ed25519 and ECDSA P-256 keys, DSSE envelopes, and detached signatures as cosign's verify-blob reads them.
// It knows neither certificates nor transparency logs: "keyless" signatures are for cosign itself.
package provenance

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// What the statement says it is. The in-toto and SLSA types are fixed by their specifications.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
	PayloadType   = "application/vnd.in-toto+json"         // of a DSSE envelope that holds a statement
	BuildType     = "https://github.com/lkv-io/lkv/iso/v1" // meaning of Parameters and Inputs
)

// Build is one run of lkv build. Equal builds give equal statements.
type Build struct {
	Builder    string // URI of who ran it, for example a CI system; whoever signs vouches for it
	Version    string // of lkv
	Parameters Parameters
	Outputs    []Resource // the ISO first, then what lies beside it
	Inputs     []Resource // images, LinuxKit YAML, extra sources and boot files
}

// Parameters are what the user chose.
type Parameters struct {
	Image    string   `json:"image"`
	Arch     string   `json:"arch"`
	Boot     []string `json:"boot"`
	Rootfs   string   `json:"rootfs"`
	Compress string   `json:"compress"`
	Epoch    int64    `json:"epoch"` // seconds since 1970; every time stamp in the outputs
}

// Resource is a file or image by name and digest (in-toto ResourceDescriptor v1).
type Resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest"` // algorithm to lower-case hex digits
	Annotations map[string]string `json:"annotations,omitempty"`
}

// File describes a file by its SHA-256 in hex digits. Kind says what it is for; empty for outputs.
func File(kind, name, sha256 string) Resource {
	r := Resource{Name: name, Digest: map[string]string{"sha256": sha256}}
	if kind != "" {
		r.Annotations = map[string]string{"kind": kind}
	}
	return r
}

// Image describes an OCI image by its digest, "sha256:…", the reference it was found under and where it was used.
func Image(section, name, ref, digest string) Resource {
	algorithm, hex, _ := strings.Cut(digest, ":")
	repository, _, _ := strings.Cut(ref, "@")
	return Resource{
		Name: name, URI: "oci://" + repository + "@" + digest, Digest: map[string]string{algorithm: hex},
		Annotations: map[string]string{"kind": "image", "section": section},
	}
}

// Statement is an in-toto Statement v1 about a build.
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Predicate is SLSA Provenance v1. It has no times and no invocation ID: two builds of the same are the same.
type Predicate struct {
	Definition struct {
		BuildType  string     `json:"buildType"`
		Parameters Parameters `json:"externalParameters"`
		Inputs     []Resource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Run struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version,omitempty"`
		} `json:"builder"`
	} `json:"runDetails"`
}

// Statement returns what there is to say about the build.
func (b Build) Statement() Statement {
	s := Statement{Type: StatementType, PredicateType: PredicateType, Subject: slices.Clone(b.Outputs)}
	s.Predicate.Definition.BuildType = BuildType
	s.Predicate.Definition.Parameters = b.Parameters
	s.Predicate.Definition.Inputs = append([]Resource{}, b.Inputs...)
	s.Predicate.Run.Builder.ID = b.Builder
	if b.Version != "" {
		s.Predicate.Run.Builder.Version = map[string]string{"lkv": b.Version}
	}
	return s
}

// Write encodes s as indented JSON with a final newline; equal statements give equal bytes.
func (s Statement) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("write provenance: %w", err)
	}
	return nil
}

// Parse decodes a statement. It refuses every other kind of in-toto statement and one without a subject.
func Parse(text []byte) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(text, &s); err != nil {
		return Statement{}, fmt.Errorf("read provenance: %w", err)
	}
	if s.Type != StatementType || s.PredicateType != PredicateType {
		return Statement{}, fmt.Errorf("read provenance: type %.60q with predicate %.60q: this is no SLSA provenance v1", s.Type, s.PredicateType)
	}
	if len(s.Subject) == 0 {
		return Statement{}, fmt.Errorf("read provenance: it is about nothing")
	}
	return s, nil
}

// Names returns whether the statement is about a file with that SHA-256, in lower-case hex digits.
func (s Statement) Names(sha256 string) bool {
	return sha256 != "" && slices.ContainsFunc(s.Subject, func(r Resource) bool { return r.Digest["sha256"] == sha256 })
}
