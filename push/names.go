package push

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
)

// partMark separates a final name from the part that makes it temporary.
const partMark = ".lkv-part-"

// ISOPath returns where the ISO of that digest (64 hex digits) lies, relative to the store's folder.
func ISOPath(image, digest string) string { return path.Join(image, digest+".iso") }

// ManifestPath returns where the manifest of the ISO of that digest lies.
func ManifestPath(image, digest string) string { return path.Join(image, digest+".manifest.json") }

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

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// temporary returns the name an upload has until it is verified. It carries who pushes, so that the same pusher
// recognises what it left behind, and a nonce, so that two pushes at once never write into one file.
func (in Input) temporary(final string) string {
	return final + partMark + in.ownerTag() + "-" + hash8(in.Nonce+final)
}

func (in Input) ownerTag() string { return hash8(in.Owner) }

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
