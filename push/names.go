package push

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
)

// partMark separates a final name from the part that makes it temporary.
const partMark = ".lkv-part-"

// What follows the digest in the name of a file.
const (
	isoEnding       = ".iso"
	manifestEnding  = ".manifest.json"
	signatureEnding = ".manifest.json.sig"
	statementEnding = ".provenance.json"
	envelopeEnding  = ".provenance.dsse.json"
	spdxEnding      = ".spdx.json"
	cyclonedxEnding = ".cdx.json"
)

// endings are all of them, in the order in which they are removed: whatever is left still has its manifest.
var endings = []string{isoEnding, spdxEnding, cyclonedxEnding, statementEnding, envelopeEnding, signatureEnding, manifestEnding}

// ISOPath returns where the ISO of that digest (64 hex digits) lies, relative to the store's folder.
func ISOPath(image, digest string) string { return besidePath(image, digest, isoEnding) }

// ManifestPath returns where the manifest of the ISO of that digest lies.
func ManifestPath(image, digest string) string { return besidePath(image, digest, manifestEnding) }

func besidePath(image, digest, ending string) string { return path.Join(image, digest+ending) }

// ChannelPath returns where a channel's file lies.
func ChannelPath(image, channel string) string {
	return path.Join(image, "channels", channel+".json")
}

// IsTemporary tells whether a path has a temporary name made by this package. Nobody else's file matches.
func IsTemporary(p string) bool {
	_, rest, ok := strings.Cut(path.Base(p), partMark)
	owner, nonce, two := strings.Cut(rest, "-")
	return ok && two && len(owner) == 8 && isHex(owner) && nonce != "" && isHex(nonce)
}

// contentName splits the name of an ISO, or of a file beside one, into digest and ending. Nobody else's file matches.
func contentName(name string) (digest, ending string, ok bool) {
	digest, _, _ = strings.Cut(name, ".")
	ending = strings.TrimPrefix(name, digest)
	return digest, ending, isDigest(digest) && slices.Contains(endings, ending)
}

func isDigest(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// pusher is who writes to a store.
type pusher struct{ Owner, Nonce string }

// temporary returns the name an upload has until it is verified. It carries who pushes, so that the same pusher
// recognises what it left behind, and a nonce, so that two pushes at once never write into one file; nor do two
// stores of one push that are the same folder by two names.
func (w pusher) temporary(s Store, final string) string {
	return final + partMark + w.tag() + "-" + hash8(w.Nonce+"\x00"+s.Name()+"\x00"+final)
}

func (w pusher) tag() string { return hash8(w.Owner) }

func hash8(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// checkName refuses names that would leave the folder or hide a file.
func checkName(kind, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\[]\x00\n") {
		return fmt.Errorf("%s name %q: use letters, digits, dots, dashes and underscores", kind, name)
	}
	return nil
}
