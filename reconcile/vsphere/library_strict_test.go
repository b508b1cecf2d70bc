package vsphere_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vim25/soap"
)

// strict stands before the simulator and does what vCenter's content library does and the simulator does not: files
// get into an item only when their session is complete, all or none; size and SHA-256 are checked; an item has one
// active session at a time; a session lists the item's files; files are removed through sessions; the file on the
// datastore has another name than in the item; a client token makes no second session.
type strict struct {
	next  http.Handler
	admin *library.Manager // of the simulator

	mu        sync.Mutex
	sessions  map[string]*updating
	gone      map[string]bool                  // files on the datastore that were removed or replaced
	dead      map[string]bool                  // login sessions that have ended
	upload    func(n int, r *http.Request) int // answers the nth upload; 0: as usual; -1: cut; called before the body is read
	uploads   int
	rests     int // requests so far
	completed int
	moves     string // what an update adds to the names of all ISOs on the datastore, which vCenter must not do
	moved     string
	deny      int // from this one on calls are refused; 0: none
}

type updating struct {
	library.Session
	token   string
	files   map[string]*library.UpdateFile
	raw     map[string][]byte
	removes []string
}

const libraryPath = "/rest/com/vmware/content/library"

// ServeHTTP implements http.Handler.
func (s *strict) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ours := strings.CutPrefix(r.URL.Path, libraryPath+"/item")
	id := ""
	if i := strings.Index(p, "/id:"); i >= 0 {
		p, id = p[:i], p[i+4:]
	}
	do := r.Method + " " + p + "?" + r.URL.Query().Get("~action")
	upload := strings.HasPrefix(r.URL.Path, "/cls/data/")
	rest := strings.HasPrefix(r.URL.Path, "/rest/")
	if s.rests++; s.deny > 0 && s.rests >= s.deny && rest {
		fail(w, http.StatusForbidden, "unauthorized", "no privilege")
		return
	}
	switch {
	case (rest || upload) && s.dead[r.Header.Get("vmware-api-session-id")]:
		w.WriteHeader(http.StatusUnauthorized)
	case upload:
		s.receive(w, r)
	case !ours:
		s.next.ServeHTTP(w, r)
	case !s.known(r):
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasPrefix(p, "/update-session"), strings.HasPrefix(p, "/updatesession/file"):
		s.update(w, r, do, id)
	case p == "/storage":
		s.storage(w, r)
	default:
		s.next.ServeHTTP(w, r)
	}
}

// endAll ends sessions as time does.
func (s *strict) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// blind refuses every call from the nth on; 0: none.
func (s *strict) blind(from int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rests, s.deny = 0, from; from > 0 {
		s.completed = 0
	}
}

// finished tells whether a session was completed since blind.
func (s *strict) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.completed > 0
}

// known asks the simulator for the login session.
func (s *strict) known(r *http.Request) bool {
	q := httptest.NewRequest(http.MethodPost, "/rest/com/vmware/cis/session?~action=get", nil)
	q.Header = r.Header.Clone()
	rec := httptest.NewRecorder()
	s.next.ServeHTTP(rec, q)
	return rec.Code == http.StatusOK
}

func fail(w http.ResponseWriter, status int, kind, text string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"com.vmware.vapi.std.errors.%s","value":{"messages":[{"default_message":%q}]}}`, kind, text)
}

func answer(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"value": v})
}

func (s *strict) update(w http.ResponseWriter, r *http.Request, do, id string) {
	var in struct {
		Token  string             `json:"client_token"`
		Create library.Session    `json:"create_spec"`
		File   library.UpdateFile `json:"file_spec"`
		Name   string             `json:"file_name"`
	}
	raw, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(raw, &in)
	if id == "" {
		id = r.URL.Query().Get("update_session_id")
	}
	u := s.sessions[id]
	switch {
	case do == "POST /update-session?":
		s.begin(w, in.Create.LibraryItemID, in.Token)
		return
	case do == "GET /update-session?" && id == "":
		ids := []string{}
		for id := range s.sessions {
			ids = append(ids, id)
		}
		answer(w, ids)
		return
	case u == nil:
		fail(w, http.StatusNotFound, "not_found", "no session "+id)
		return
	}
	active := u.State == "ACTIVE"
	switch do {
	case "GET /update-session?":
		answer(w, u.Session)
	case "DELETE /update-session?":
		delete(s.sessions, id)
	case "GET /updatesession/file?":
		list := []*library.UpdateFile{}
		for _, f := range u.files {
			list = append(list, f)
		}
		answer(w, list)
	case "POST /update-session?keep-alive":
	case "POST /update-session?cancel", "POST /update-session?complete", "POST /updatesession/file?add", "POST /updatesession/file?remove":
		if !active {
			fail(w, http.StatusBadRequest, "not_allowed_in_current_state", u.State)
			return
		}
		switch {
		case strings.HasSuffix(do, "cancel"):
			u.State = "CANCELED"
		case strings.HasSuffix(do, "add"):
			f := in.File
			f.Status = "WAITING_FOR_TRANSFER"
			f.UploadEndpoint = &library.TransferEndpoint{URI: "https://elsewhere.invalid:443/cls/data/" + id + "/" + url.PathEscape(f.Name)}
			u.files[f.Name] = &f
			answer(w, f)
		case strings.HasSuffix(do, "remove"):
			u.removes = append(u.removes, in.Name)
		default:
			s.finish(u)
		}
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (s *strict) begin(w http.ResponseWriter, item, token string) {
	for _, u := range s.sessions {
		switch {
		case token != "" && u.token == token:
			answer(w, u.ID)
			return
		case u.LibraryItemID == item && u.State == "ACTIVE":
			fail(w, http.StatusInternalServerError, "resource_busy", "another session is active")
			return
		}
	}
	files, err := s.stored(item)
	if err != nil {
		fail(w, http.StatusNotFound, "not_found", err.Error())
		return
	}
	u := &updating{library.Session{ID: uuid.NewString(), LibraryItemID: item, State: "ACTIVE"}, token, map[string]*library.UpdateFile{}, map[string][]byte{}, nil}
	for _, f := range files {
		u.files[f.Name] = &library.UpdateFile{Name: f.Name, SourceType: "NONE", Status: "READY", Size: f.Size}
	}
	s.sessions[u.ID] = u
	answer(w, u.ID)
}

// receive takes the bytes of a file.
func (s *strict) receive(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	u := s.sessions[parts[3]]
	if u == nil || u.State != "ACTIVE" || u.files[parts[4]] == nil {
		fail(w, http.StatusNotFound, "not_found", "no such upload")
		return
	}
	s.uploads++
	if s.upload != nil {
		switch status := s.upload(s.uploads, r); {
		case status < 0:
			_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
			panic(http.ErrAbortHandler)
		case status > 0:
			_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
			w.WriteHeader(status)
			return
		}
	}
	f := u.files[parts[4]]
	raw, err := io.ReadAll(r.Body)
	f.Status, f.BytesTransferred = "READY", int64(len(raw))
	switch {
	case err != nil:
		f.Status = "TRANSFERRING"
	case f.Size != int64(len(raw)), f.Checksum != nil && (f.Checksum.Algorithm != "SHA256" || f.Checksum.Checksum != fmt.Sprintf("%x", sha256.Sum256(raw))):
		f.Status = "ERROR"
	}
	u.raw[f.Name] = raw
}

// finish puts a session's files into the item.
func (s *strict) finish(u *updating) {
	for _, f := range u.files {
		if f.SourceType == "PUSH" && f.Status != "READY" {
			u.State = "ERROR"
			return
		}
	}
	s.completed++
	defer func() { s.moved = s.moves }()
	old, err := s.stored(u.LibraryItemID)
	for name, f := range u.files {
		if f.SourceType != "PUSH" || err != nil {
			continue
		}
		err = s.put(u.LibraryItemID, strings.TrimSuffix(name, path.Ext(name))+"_"+uuid.NewString()+path.Ext(name), u.raw[name])
		u.removes = append(u.removes, name)
	}
	if u.State = "DONE"; err != nil {
		u.State = "ERROR"
	}
	for _, name := range u.removes {
		for _, f := range old {
			if f.Name == name {
				s.gone[path.Base(f.StorageURIs[0])] = true
			}
		}
	}
}

// put makes a file of the simulator's item.
func (s *strict) put(item, name string, raw []byte) error {
	ctx := context.Background()
	id, err := s.admin.CreateLibraryItemUpdateSession(ctx, library.Session{LibraryItemID: item})
	if err != nil {
		return err
	}
	f, err := s.admin.AddLibraryItemFile(ctx, id, library.UpdateFile{Name: name, SourceType: "PUSH"})
	if err != nil {
		return err
	}
	to, err := url.Parse(f.UploadEndpoint.URI)
	if err != nil {
		return err
	}
	return s.admin.Upload(ctx, bytes.NewReader(raw), to, &soap.Upload{Method: http.MethodPut, ContentLength: int64(len(raw)), Headers: map[string]string{}})
}

var suffix = regexp.MustCompile(`_[0-9a-f-]{36}(\.[^.]+)$`)

// stored lists what an item has.
func (s *strict) stored(item string) ([]library.Storage, error) {
	all, err := s.admin.ListLibraryItemStorage(context.Background(), item)
	var list []library.Storage
	for _, f := range all {
		if !s.gone[f.Name] {
			f.StorageURIs[0] = strings.Replace(f.StorageURIs[0], ".iso", s.moved+".iso", 1)
			f.Name = suffix.ReplaceAllString(f.Name, "$1")
			list = append(list, f)
		}
	}
	return list, err
}

func (s *strict) storage(w http.ResponseWriter, r *http.Request) {
	list, err := s.stored(r.URL.Query().Get("library_item_id"))
	if err != nil {
		fail(w, http.StatusNotFound, "not_found", err.Error())
		return
	}
	answer(w, list)
}
