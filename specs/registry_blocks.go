package specs

import (
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Registry is one `registry` block: where the images of some repositories come from and who must have signed them.
// Of several blocks whose pattern fits a repository, the one with the most letters outside its stars counts alone.
type Registry struct {
	Pos        Pos
	Pattern    string   // repository with its registry, in which * stands for any text, also with slashes
	Mirrors    []string // "host[:port][/path]", asked in order before the registry itself
	Insecure   []string // "host[:port]" that may be spoken to over plain HTTP or with an unverified certificate
	CosignKeys []string // PEM files of public keys relative to Spec.Dir; an image needs a signature of one of them
}

var registryGrammar = grammar{args: map[string]string{
	"mirrors": `["mirror.example.net:5000/ghcr"]`, "insecure": `["mirror.example.net:5000"]`, "cosign_keys": `["cosign.pub"]`,
}}

var (
	registryRule   = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)
	repositoryRule = regexp.MustCompile(`^[a-z0-9*._:-]+(/[a-z0-9*._-]+)+$`)
	mirrorPath     = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
)

func (l *loader) registry(b *hcl.Block) Registry {
	s := l.open(b, registryGrammar)
	r := Registry{Pos: posOf(b.DefRange), Pattern: b.Labels[0]}
	s.texts("mirrors", &r.Mirrors)
	s.texts("insecure", &r.Insecure)
	before := len(l.diags)
	s.texts("cosign_keys", &r.CosignKeys)
	if s.has("cosign_keys") && len(r.CosignKeys) == 0 && len(l.diags) == before { // null must not mean that nothing is checked
		s.bad("cosign_keys", "cosign_keys is null: write cosign_keys = %s, or leave it out.", registryGrammar.args["cosign_keys"])
	}
	s.pattern(r.Pattern)
	l.once(b.DefRange, "registry "+r.Pattern, "registry %q", r.Pattern)
	for _, m := range r.Mirrors {
		host, path, deep := strings.Cut(strings.TrimSuffix(m, "/"), "/")
		if !registryHost(host) || deep && !mirrorPath.MatchString(path) {
			s.bad("mirrors", "%q is no registry: write a host, with a port and a path where they are needed, without https://, for example %s", m, registryGrammar.args["mirrors"])
		}
	}
	for _, h := range r.Insecure {
		if !registryHost(h) {
			s.bad("insecure", "%q is no host: write insecure = %s", h, registryGrammar.args["insecure"])
		}
	}
	if len(r.Mirrors)+len(r.Insecure)+len(r.CosignKeys) == 0 && len(s.attrs) == 0 {
		l.fail(b.DefRange, "Empty registry block", "registry %q says nothing: write mirrors, insecure or cosign_keys, or remove it.", r.Pattern)
	}
	return r
}

// registryHost says whether the first part of a reference would be taken for a host: else "mirror/x" meant Docker Hub.
func registryHost(host string) bool {
	return registryRule.MatchString(host) && (strings.ContainsAny(host, ".:") || host == "localhost")
}

// pattern reports a pattern that no repository can fit: whoever asks for signatures must not get none by a typo.
func (s *scope) pattern(p string) {
	at := s.at
	host, _, _ := strings.Cut(p, "/")
	star := strings.Contains(host, "*")
	switch {
	case p == "*": // everything
	case !repositoryRule.MatchString(p) || !star && !registryHost(host):
		s.l.fail(at, "Unusable pattern", "%q fits no image: write the registry and the repository in full, in lower case and without a tag, * for any text, for example \"ghcr.io/acme/*\" or \"docker.io/library/*\".", p)
	case host == "index.docker.io" || host == "registry-1.docker.io" || strings.HasSuffix(host, ":443"):
		s.l.fail(at, "Unusable pattern", "%q fits no image: write \"docker.io\" for Docker Hub, and leave out :443.", p)
	case host == "docker.io" && !strings.Contains(strings.TrimPrefix(p, "docker.io/"), "/") && !strings.Contains(p, "*"):
		s.l.fail(at, "Unusable pattern", "%q fits no image: write \"docker.io/library/%s\".", p, strings.TrimPrefix(p, "docker.io/"))
	}
}
