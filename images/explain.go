package images

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// explain adds to a registry's answer what the user can do about it.
func explain(err error, r name.Reference) error {
	host := r.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
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
