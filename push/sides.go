package push

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/internal/manifest"
)

// document is a small file that lies beside the ISO on the store, under the ISO's digest.
type document struct {
	ending string
	raw    []byte
}

// kinds are the files of a manifest that go with the ISO, with their endings on the store. Kernels and the like stay.
var kinds = map[string]string{"spdx": spdxEnding, "cyclonedx": cyclonedxEnding, "provenance": statementEnding}

// EndingOf returns what follows the ISO's digest in the name that a file of a manifest has on a store. Not ok: a file of
// that kind is not brought there.
func EndingOf(kind string) (ending string, ok bool) {
	ending, ok = kinds[kind]
	return ending, ok
}

// documents reads what describes the ISO from beside it: SBOMs, provenance, signatures, and the manifest as the last.
// What the manifest lists must be there, and be what it lists; signatures may be missing.
func (in Input) documents(m manifest.Manifest) ([]document, error) {
	base := strings.TrimSuffix(in.ISO, isoEnding)
	envelope, err := readOptional(base + envelopeEnding)
	if err != nil {
		return nil, err
	}
	var list []document
	for _, f := range m.Files {
		ending, ok := kinds[f.Kind]
		if !ok {
			continue
		}
		if f.Name == "" || f.Name == "." || f.Name == ".." || filepath.Base(f.Name) != f.Name {
			return nil, fmt.Errorf("its manifest names %.80q, which is no file beside the ISO: build the image again", f.Name)
		}
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(in.ISO), f.Name))
		if errors.Is(err, fs.ErrNotExist) && ending == statementEnding && envelope != nil && same(payload(envelope), f.File) {
			continue // the statement is in the envelope
		}
		if err != nil {
			return nil, fmt.Errorf("read %s, which its manifest lists: %w: build the image again", f.Kind, err)
		}
		if !same(raw, f.File) {
			return nil, fmt.Errorf("%s is not the file that the manifest lists: build the image again", f.Name)
		}
		list = append(list, document{ending, raw})
	}
	if envelope != nil {
		list = append(list, document{envelopeEnding, envelope})
	}
	signature, err := readOptional(base + signatureEnding)
	if err != nil {
		return nil, err
	}
	if signature != nil {
		list = append(list, document{signatureEnding, signature})
	}
	list = append(list, document{manifestEnding, in.Manifest})
	for _, d := range list {
		if len(d.raw) > smallFile {
			return nil, fmt.Errorf("%s has %d bytes, more than the %d it may have", base+d.ending, len(d.raw), smallFile)
		}
	}
	return list, nil
}

// readOptional returns nil for a file that is not there.
func readOptional(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	return raw, nil
}

// payload returns what a DSSE envelope carries; nil when it is none. Whether its signature is good is for lkv
// verify-image to say, which has the keys.
func payload(envelope []byte) []byte {
	var e struct {
		Payload []byte `json:"payload"` // base64 in JSON
	}
	if json.Unmarshal(envelope, &e) != nil {
		return nil
	}
	return e.Payload
}

func same(raw []byte, want manifest.File) bool {
	sum := sha256.Sum256(raw)
	return int64(len(raw)) == want.Size && hex.EncodeToString(sum[:]) == want.SHA256
}
