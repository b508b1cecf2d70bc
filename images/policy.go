package images

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Rule says where the images of some repositories are fetched and whose signature they need. The rule with the
// most letters outside its stars wins; it alone counts.
type Rule struct {
	// Pattern is a canonical repository ("ghcr.io/acme/app", "docker.io/library/redis"), in which * stands for any
	// text, also with slashes. lkv's own components are only meant by a pattern that begins with "docker.io/lkv/".
	Pattern  string
	Mirrors  []string // "host[:port][/path]", asked in order before the origin; the repository follows without its host
	Insecure []string // registries ("host:port") that may be spoken to over plain HTTP or with an unverified certificate
	Keys     []Key    // when there are any, an image is used only with a cosign signature of one of them
}

// spellRepo is a repository as patterns are compared with it. Hosts have no case, and 443 is no other registry: an
// image must not escape its rule by another spelling.
func spellRepo(r name.Repository) string {
	host := strings.ToLower(r.RegistryStr())
	host = strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ".")
	if host == name.DefaultRegistry || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	return host + "/" + r.RepositoryStr()
}

// match returns the rule for a repository.
func match(rules []Rule, repo string) (Rule, bool) {
	best, at := -1, 0
	for i, r := range rules {
		if local(repo) && !strings.HasPrefix(r.Pattern, localPrefix) {
			continue
		}
		if n := len(r.Pattern) - strings.Count(r.Pattern, "*"); glob(r.Pattern, repo) && n > best {
			best, at = n, i
		}
	}
	if best < 0 {
		return Rule{}, false
	}
	return rules[at], true
}

// glob matches a text with a pattern in which * stands for any text.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}
