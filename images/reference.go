package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// localPrefix begins the canonical name of images that lkv images build makes. They exist in the cache only and
// are never fetched: whoever holds that name on a public registry must not end up in an ISO.
const localPrefix = "docker.io/lkv/"

// Canonical returns the one full spelling of a reference: "redis" becomes "docker.io/library/redis:latest",
// "lkv/kernel:1" becomes "docker.io/lkv/kernel:1", "ghcr.io/x:1" and "localhost:5000/x:1" stay as they are.
// A reference with a digest keeps the digest and loses a tag beside it. It fails on a malformed reference.
func Canonical(ref string) (string, error) {
	r, err := parse(ref)
	if err != nil {
		return "", err
	}
	return spell(r), nil
}

// local says whether a canonical reference names an image that only lkv images build can provide.
func local(canonical string) bool { return strings.HasPrefix(canonical, localPrefix) }

func parse(ref string, opts ...name.Option) (name.Reference, error) {
	r, err := name.ParseReference(ref, opts...)
	if err == nil && slices.Contains(strings.Split(ref, "/"), "..") { // a registry or proxy might follow it past a policy
		err = errors.New(`a repository has no ".."`)
	}
	if err != nil {
		return nil, fmt.Errorf("parse image reference %q: %w", ref, err)
	}
	return r, nil
}

// spell undoes go-containerregistry's "index.docker.io", which nobody writes.
func spell(r name.Reference) string {
	return strings.Replace(r.Name(), name.DefaultRegistry+"/", "docker.io/", 1)
}

// component returns "kernel" for "docker.io/lkv/kernel:1".
func component(canonical string) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(canonical, localPrefix), "@")
	s, _, _ = strings.Cut(s, ":")
	return s
}
