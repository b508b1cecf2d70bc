package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
)

// libraryAPI is the session with the part of vCenter that keeps content libraries. Its calls, their errors and its
// session are not those of SOAP.
type libraryAPI struct {
	*library.Manager
	gate *libraryGate
	user *url.Userinfo

	mu sync.Mutex // held while logging in
}

// apiHolder makes a client's libraryAPI when it is first needed.
type apiHolder struct {
	mu  sync.Mutex
	api *libraryAPI
}

// libraries returns the session, which logs in with its first call.
func (c *Client) libraries() *libraryAPI {
	c.rest.mu.Lock()
	defer c.rest.mu.Unlock()
	if c.rest.api == nil {
		r := rest.NewClient(c.vim)
		a := &libraryAPI{Manager: library.NewManager(r), user: url.UserPassword(c.session.user, c.session.password)}
		a.gate = newLibraryGate(c.files, c.trace, &c.gate.log)
		r.Transport = &libraryTransport{a}
		c.rest.api = a
	}
	return c.rest.api
}

// close logs out, if there was a login.
func (h *apiHolder) close(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.api == nil || h.api.SessionID() == "" {
		return nil
	}
	err := h.api.Logout(ctx)
	h.api.SessionID("")
	var e *libraryError
	if errors.As(err, &e) && e.status == http.StatusUnauthorized {
		return nil // the session has ended by itself
	}
	return err
}

// login makes a new session, unless somebody else did since old was the session.
func (a *libraryAPI) login(ctx context.Context, old string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.SessionID(); now != "" && now != old {
		return now, nil
	}
	a.SessionID("")
	if err := a.Login(ctx, a.user); err != nil {
		return "", fmt.Errorf("log in to the content libraries: %w", err)
	}
	return a.SessionID(), nil
}

// libraryTransport is between govmomi and the filter: it keeps the session and makes errors of answers.
type libraryTransport struct{ a *libraryAPI }

const (
	loginPath     = "/rest/com/vmware/cis/session"
	sessionHeader = "vmware-api-session-id"
)

// RoundTrip implements http.RoundTripper. A request that was refused for want of a session has had no effect, so it
// is sent again with a new one, if its body can be read again.
func (t *libraryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == loginPath {
		return t.a.gate.send(r)
	}
	id := t.a.SessionID()
	for try := 1; ; try++ {
		if id == "" {
			var err error
			if id, err = t.a.login(r.Context(), ""); err != nil {
				return nil, err
			}
		}
		one := r.Clone(r.Context())
		one.Header.Set(sessionHeader, id)
		if r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			one.Body = body
		}
		res, err := t.a.gate.send(one)
		var e *libraryError
		if err == nil || try > 1 || !errors.As(err, &e) || e.status != http.StatusUnauthorized {
			return res, err
		}
		id, err = t.a.login(r.Context(), id)
		if err != nil {
			return nil, err
		}
		if r.GetBody == nil && r.ContentLength > 0 {
			return nil, &StoreError{e, true} // part of the body is gone: the caller begins again
		}
	}
}

// libraryError is an answer that is no success.
type libraryError struct {
	call   string
	status int
	kind   string // "not_found", "resource_busy" and so on; empty: the answer does not say
	text   string
}

// answerError makes an error of an answer, and says whether another try may help.
func answerError(call string, res *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what cannot be read is not shown
	type message struct {
		Text string `json:"default_message"`
	}
	var body struct {
		Type     string    `json:"type"`
		Kind     string    `json:"error_type"`
		Messages []message `json:"messages"`
		Value    struct {
			Messages []message `json:"messages"`
		} `json:"value"`
	}
	e := &libraryError{call: call, status: res.StatusCode, text: res.Status}
	if json.Unmarshal(raw, &body) == nil {
		e.kind = strings.ToLower(body.Kind)
		if i := strings.LastIndexByte(body.Type, '.'); i >= 0 {
			e.kind = strings.ToLower(body.Type[i+1:])
		}
		for _, m := range append(body.Messages, body.Value.Messages...) {
			if m.Text != "" {
				e.text += ": " + m.Text
			}
		}
	}
	return &StoreError{e, e.passing()}
}

// Error implements error.
func (e *libraryError) Error() string {
	hint := ""
	switch {
	case e.status == http.StatusForbidden || e.kind == "unauthorized":
		hint = ": the role needs the privileges Content Library > Add, Update and Read (docs/push.md) (R20)"
	case e.kind == "resource_busy":
		hint = ": another push to this image is under way, or was broken off a moment ago"
	case e.kind == "unable_to_allocate_resource":
		hint = ": the datastore is full (R21)"
	}
	kind := e.kind
	if kind != "" {
		kind = " (" + kind + ")"
	}
	return fmt.Sprintf("content library, %s: vCenter answered %s%s%s", e.call, e.text, kind, hint)
}

// Is tells whether it means that something is not there, or there already.
func (e *libraryError) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.kind == "not_found" || e.kind == "" && e.status == http.StatusNotFound
	case fs.ErrExist:
		return e.kind == "already_exists"
	}
	return false
}

func (e *libraryError) passing() bool {
	switch e.kind {
	case "resource_busy", "service_unavailable", "internal_server_error", "timed_out", "concurrent_change", "resource_inaccessible":
		return true
	case "":
		s := &statusError{code: e.status}
		return s.passing()
	}
	return false
}

// hidden returns a URL without what may be a password in it.
func hidden(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "another library"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
