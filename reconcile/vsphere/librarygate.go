package vsphere

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// libraryGate is the filter on the wire for content libraries: a closed list of calls, each further checked by what
// it carries. No call that deletes an item or a library is on it. A file is removed from an item only by Remove, and
// an ISO is added only under a name that the item does not have.
type libraryGate struct {
	next  http.RoundTripper
	trace func(method string, mutating bool)
	log   *atomic.Pointer[recorder] // the session's; nil in it: no journal

	mu        sync.Mutex
	libraries map[string]bool // of stores; true: may be written to
	items     map[string]bool // of those libraries; true: may be written to
	sessions  map[string]bool // update sessions of those items that were begun here or are our leftovers
	permits   map[string]bool // files to be added or removed, and upload addresses; each good for one call
}

func newLibraryGate(next http.RoundTripper, trace func(string, bool), log *atomic.Pointer[recorder]) *libraryGate {
	return &libraryGate{next: next, trace: trace, log: log, libraries: map[string]bool{}, items: map[string]bool{}, sessions: map[string]bool{}, permits: map[string]bool{}}
}

func (g *libraryGate) ownLibrary(id string, writable bool) { g.set(g.libraries, id, writable) }
func (g *libraryGate) ownItem(id string, writable bool)    { g.set(g.items, id, writable) }
func (g *libraryGate) ownSession(id string)                { g.set(g.sessions, id, true) }
func (g *libraryGate) permit(what string)                  { g.set(g.permits, what, true) }

func (g *libraryGate) set(m map[string]bool, key string, value bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m[key] = value
}

// What may be permitted once.
func adding(session, name string) string   { return "add " + session + "/" + name }
func removing(session, name string) string { return "remove " + session + "/" + name }
func uploading(path string) string         { return "upload " + path }

// use uses up a permit.
func (g *libraryGate) use(permit string) bool {
	ok := g.permits[permit]
	delete(g.permits, permit)
	return ok
}

// restBody is what lkv sends, as far as it is looked at.
type restBody struct {
	Create *struct {
		Library string `json:"library_id"`
		Item    string `json:"library_item_id"`
		Name    string `json:"name"`
		Type    string `json:"type"`
	} `json:"create_spec"`
	Update map[string]any `json:"update_spec"`
	Find   *struct {
		Library string `json:"library_id"`
	} `json:"spec"`
	File *struct {
		Name   string `json:"name"`
		Source string `json:"source_type"`
	} `json:"file_spec"`
	Name string `json:"file_name"`
}

// restCall is one call of the closed list.
type restCall struct {
	name    string // for traces and messages
	changes bool
	refuse  func(g *libraryGate, id string, b restBody, r *http.Request) string // why it is not sent; nil: always sent
}

const content = "/rest/com/vmware/content/library"

// restCalls is the closed list. In a key {id} stands for one identifier.
var restCalls = map[string]restCall{
	"POST " + loginPath:                {"session login", false, nil},
	"DELETE " + loginPath:              {"session logout", false, nil},
	"GET " + content:                   {"library list", false, nil},
	"GET " + content + "/{id}":         {"library get", false, nil},
	"GET " + content + "/item":         {"item list", false, nil},
	"POST " + content + "/item?find":   {"item find", false, nil},
	"GET " + content + "/item/{id}":    {"item get", false, nil},
	"POST " + content + "/item":        {"item create", true, (*libraryGate).refuseItem},
	"PATCH " + content + "/item/{id}":  {"item update", true, (*libraryGate).refuseUpdate},
	"GET " + content + "/item/storage": {"storage list", false, nil},

	"GET " + content + "/item/update-session":                  {"update-session list", false, nil},
	"GET " + content + "/item/update-session/{id}":             {"update-session get", false, nil},
	"POST " + content + "/item/update-session":                 {"update-session create", true, (*libraryGate).refuseBegin},
	"POST " + content + "/item/update-session/{id}?complete":   {"update-session complete", true, (*libraryGate).refuseSession},
	"POST " + content + "/item/update-session/{id}?cancel":     {"update-session cancel", true, (*libraryGate).refuseSession},
	"POST " + content + "/item/update-session/{id}?keep-alive": {"update-session keep-alive", true, (*libraryGate).refuseSession},
	"DELETE " + content + "/item/update-session/{id}":          {"update-session delete", true, (*libraryGate).refuseSession},
	"GET " + content + "/item/updatesession/file":              {"update-session file list", false, nil},
	"POST " + content + "/item/updatesession/file/{id}?get":    {"update-session file get", false, nil},
	"POST " + content + "/item/updatesession/file/{id}?add":    {"update-session file add", true, (*libraryGate).refuseAdd},
	"POST " + content + "/item/updatesession/file/{id}?remove": {"update-session file remove", true, (*libraryGate).refuseRemove},
}

var restID = regexp.MustCompile(`/id:([^/]+)$`)

// known returns the call that a request is.
func (g *libraryGate) known(r *http.Request) (c restCall, id string, ok bool) {
	path := r.URL.Path
	if m := restID.FindStringSubmatch(path); m != nil {
		id, path = m[1], strings.TrimSuffix(path, m[0])+"/{id}"
	}
	if action := r.URL.Query().Get("~action"); action != "" {
		path += "?" + action
	}
	if c, ok = restCalls[r.Method+" "+path]; ok {
		return c, id, true
	}
	return restCall{"upload", true, (*libraryGate).refuseUpload}, "", r.Method == http.MethodPut
}

// send lets a request through or refuses it. An answer that is no success is an error.
func (g *libraryGate) send(r *http.Request) (*http.Response, error) {
	c, id, ok := g.known(r)
	if !ok {
		return nil, &ForbiddenError{r.Method + " " + r.URL.Path, "it is not among the calls lkv makes"}
	}
	var b restBody
	if c.refuse != nil {
		var err error
		if b, err = bodyOf(r); err != nil {
			return nil, err
		}
		g.mu.Lock()
		why := c.refuse(g, id, b, r)
		g.mu.Unlock()
		if why != "" {
			return nil, &ForbiddenError{c.name, why}
		}
	}
	if g.trace != nil && r.URL.Path != loginPath {
		g.trace(c.name, c.changes)
	}
	line, err := g.noted(c, id, b, r)
	if err != nil {
		return nil, fmt.Errorf("%s was not sent, nothing was changed: %w", c.name, err)
	}
	res, err := g.next.RoundTrip(r)
	if c.changes {
		g.log.Load().uploaded(line, res, err)
	}
	if err != nil {
		return nil, &wireError{err}
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		defer res.Body.Close()
		return nil, answerError(c.name, res)
	}
	return res, nil
}

// noted writes into the journal what is about to be changed, and returns the line.
func (g *libraryGate) noted(c restCall, id string, b restBody, r *http.Request) (int, error) {
	if !c.changes {
		return 0, nil
	}
	return g.log.Load().library(c.name, id, b, r)
}

// bodyOf reads the body of a call and puts it back.
func bodyOf(r *http.Request) (b restBody, err error) {
	if r.Body == nil || r.Method == http.MethodPut {
		return b, nil
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return b, err
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &b)
	}
	return b, err
}

func (g *libraryGate) refuseItem(_ string, b restBody, _ *http.Request) string {
	if b.Create == nil || !g.libraries[b.Create.Library] || b.Create.Type != "" {
		return "it would make an item elsewhere than in a store's library, or one with a type"
	}
	return ""
}

func (g *libraryGate) refuseUpdate(id string, b restBody, _ *http.Request) string {
	if _, only := b.Update["description"]; !g.items[id] || !only || len(b.Update) != 1 {
		return fmt.Sprintf("it would change more of item %s than its description, or it is not a store's", id)
	}
	return ""
}

func (g *libraryGate) refuseBegin(_ string, b restBody, _ *http.Request) string {
	if b.Create == nil || !g.items[b.Create.Item] {
		return "it would change an item that is not a store's"
	}
	return ""
}

func (g *libraryGate) refuseSession(id string, _ restBody, _ *http.Request) string {
	if !g.sessions[id] {
		return fmt.Sprintf("update session %s is not ours", id)
	}
	return ""
}

func (g *libraryGate) refuseAdd(id string, b restBody, _ *http.Request) string {
	switch {
	case !g.sessions[id] || b.File == nil:
		return fmt.Sprintf("update session %s is not ours", id)
	case b.File.Source != "PUSH" || !finished("x/"+b.File.Name) && !channelFile.MatchString(b.File.Name):
		return fmt.Sprintf("%s is no file of an image", b.File.Name)
	case strings.HasSuffix(b.File.Name, ".iso") && !g.use(adding(id, b.File.Name)):
		return fmt.Sprintf("nobody made sure that %s is not in the item already (L15)", b.File.Name)
	}
	return ""
}

func (g *libraryGate) refuseRemove(id string, b restBody, _ *http.Request) string {
	if !g.sessions[id] || !finished("x/"+b.Name) || !g.use(removing(id, b.Name)) {
		return fmt.Sprintf("nobody decided that %s is to be removed", b.Name)
	}
	return ""
}

func (g *libraryGate) refuseUpload(_ string, _ restBody, r *http.Request) string {
	if !g.use(uploading(r.URL.Path)) {
		return r.URL.Path + " is no address that vCenter gave for an upload"
	}
	return ""
}
