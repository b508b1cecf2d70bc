package images

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Bounds on what a registry may send. The distribution specification lets registries refuse manifests above 4 MiB.
const (
	maxDocument  = 4 << 20 // a manifest or an index, bytes
	maxConfig    = 8 << 20 // an image's config, bytes
	maxRedirects = 10
)

// place is one repository an image may come from: a mirror or the origin.
type place struct {
	repo   name.Repository
	client *http.Client
	wait   waiter
	close  func()
}

// places returns the repositories to ask for a reference, mirrors first.
func (s *Source) places(r name.Reference) ([]name.Repository, error) {
	var out []name.Repository
	if rule, ok := match(s.Rules, spellRepo(r.Context())); ok {
		for _, m := range rule.Mirrors {
			repo, err := s.repository(strings.TrimSuffix(m, "/") + "/" + r.Context().RepositoryStr())
			if err != nil {
				return nil, fmt.Errorf("mirror %q of %q: %w", m, rule.Pattern, err)
			}
			out = append(out, repo)
		}
	}
	origin, err := s.repository(r.Context().Name())
	return append(out, origin), err
}

func (s *Source) repository(full string) (name.Repository, error) {
	repo, err := name.NewRepository(full)
	if err == nil && slices.Contains(s.insecure(), repo.RegistryStr()) {
		repo, err = name.NewRepository(full, name.Insecure)
	}
	if err != nil {
		return name.Repository{}, fmt.Errorf("parse repository %q: %w", full, err)
	}
	return repo, nil
}

// insecure lists every registry somebody named as insecure, on the command line or in a rule.
func (s *Source) insecure() []string {
	out := slices.Clone(s.Insecure)
	for _, r := range s.Rules {
		out = append(out, r.Insecure...)
	}
	return out
}

// connect logs in to a place. It asks the network, and tries again when the network or the registry is unwell.
func (s *Source) connect(ctx context.Context, repo name.Repository, scope string) (*place, error) {
	g, done := s.guard()
	p := &place{repo: repo, wait: s.wait, close: done}
	k := s.Keychain
	if k == nil {
		k = authn.DefaultKeychain
	}
	err := p.wait.again(ctx, func() (bool, error) {
		auth, err := authn.Resolve(ctx, k, repo)
		if err != nil {
			return false, fmt.Errorf("find credentials for %s: %w", repo.RegistryStr(), err)
		}
		rt, err := transport.NewWithContext(ctx, repo.Registry, auth, g, []string{repo.Scope(scope)})
		p.client = &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }} // the guard counts
		return false, err
	})
	if err != nil {
		done()
		return nil, explain(err, repo.Tag("latest"))
	}
	return p, nil
}

// document asks for a manifest or an index, bounded, and verified when it is asked for by digest.
func (p *place) document(ctx context.Context, identifier string) (document, error) {
	var r name.Reference = p.repo.Tag(identifier)
	if strings.Contains(identifier, ":") {
		r = p.repo.Digest(identifier)
	}
	var d document
	err := p.wait.again(ctx, func() (bool, error) {
		got, err := remote.Get(r, remote.WithContext(ctx), remote.WithTransport(p.client.Transport))
		if err != nil {
			return false, err
		}
		d, err = parseDocument(got.Manifest, got.MediaType)
		return false, err
	})
	if err != nil {
		return document{}, explain(err, r)
	}
	return d, nil
}

// blob asks for a blob from an offset on. start is the offset the registry sends from: from, or 0 when it ignores
// ranges.
func (p *place) blob(ctx context.Context, h v1.Hash, from int64) (body io.ReadCloser, start int64, err error) {
	u := url.URL{Scheme: p.repo.Scheme(), Host: p.repo.RegistryStr(), Path: fmt.Sprintf("/v2/%s/blobs/%s", p.repo.RepositoryStr(), h)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "identity") // else Go unpacks what the digest is about
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && from > 0 && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)):
		return resp.Body, from, nil
	case resp.StatusCode == http.StatusOK:
		return resp.Body, 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	if from > 0 && (resp.StatusCode == http.StatusRequestedRangeNotSatisfiable || resp.StatusCode == http.StatusPartialContent) {
		return nil, 0, errRange
	}
	return nil, 0, transport.CheckError(resp, http.StatusOK)
}

// errRange says that a registry's answer to a range is of no use.
var errRange = errors.New("the registry answers with another range")

// guard is below every request to a registry, also those to its token server and after redirects.
type guard struct {
	offline     bool
	insecure    []string
	strict, lax http.RoundTripper // lax does not verify certificates
}

func (s *Source) guard() (g guard, done func()) {
	g = guard{offline: s.Offline, insecure: s.insecure(), strict: s.Transport, lax: s.Transport}
	if s.Transport != nil {
		return g, func() {}
	}
	g.strict = remote.DefaultTransport
	if t, ok := remote.DefaultTransport.(*http.Transport); ok && len(g.insecure) > 0 {
		lax := t.Clone()
		lax.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // only for registries that were named
		g.lax = lax
		return g, lax.CloseIdleConnections
	}
	g.lax = g.strict
	return g, func() {}
}

// RoundTrip refuses what nobody allowed: any request when offline, plain HTTP to a registry not named as insecure,
// redirects without end, manifests without end.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.offline {
		return nil, ErrOffline
	}
	n := 0
	for q := r; q.Response != nil && q.Response.Request != nil; q = q.Response.Request {
		if n++; n > maxRedirects {
			return nil, fmt.Errorf("%s redirects more than %d times", r.URL.Host, maxRedirects)
		}
	}
	rt, named := g.strict, slices.Contains(g.insecure, r.URL.Host)
	if named {
		rt = g.lax
	}
	if r.URL.Scheme != "https" && !named {
		return nil, fmt.Errorf("%w %s: name it with --insecure %s or in insecure of a registry block", errPlain, r.URL.Host, r.URL.Host)
	}
	resp, err := rt.RoundTrip(r)
	if err == nil && strings.Contains(r.URL.Path, "/manifests/") {
		resp.Body = &bounded{ReadCloser: resp.Body, left: maxDocument}
	}
	return resp, err
}

var errPlain = errors.New("no plain HTTP to")

// bounded fails a reader that gives too much.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("a manifest larger than %d bytes", maxDocument)
	}
	return n, err
}
