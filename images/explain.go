package images

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// explain adds to a registry's answer what the user can do about it.
func explain(err error, r name.Reference) error {
	host := r.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	err = redact(err)
	if errors.Is(err, ErrFormat) || errors.Is(err, ErrOffline) {
		return err // said all there is to say
	}
	var te *transport.Error
	if !errors.As(err, &te) {
		return fmt.Errorf("ask registry %s: %w", host, err)
	}
	switch te.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: registry %s has no %s; check the name and the tag: %w", ErrUnknown, host, spell(r), err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("registry %s refuses %s (it does not exist or needs a login: docker login %s): %w", host, spell(r), host, err)
	case http.StatusTooManyRequests:
		return fmt.Errorf("registry %s limits the rate of pulls; log in (docker login %s) or wait: %w", host, host, err)
	}
	return fmt.Errorf("ask registry %s: %w", host, err)
}

// redact takes the query out of an address in an error: storage behind a registry signs its addresses there.
func redact(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		if u, bad := url.Parse(ue.URL); bad == nil && u.RawQuery != "" {
			u.RawQuery, u.User = "…", nil
			return &url.Error{Op: ue.Op, URL: u.String(), Err: ue.Err}
		}
	}
	return err
}
