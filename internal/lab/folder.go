package lab

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// serveFolder is vCenter's file server: GET and HEAD, with ranges, and PUT, under /folder/<path>?dcPath=&dsName=.
// Like a vCenter's, a cut upload leaves a short file under its name.
func (l *Lab) serveFolder(w http.ResponseWriter, r *http.Request) {
	l.dead.note(r)
	if s := l.session(r); !s.ok() && !l.basicAuth(r) {
		deny(w, http.StatusUnauthorized, "log in first")
		return
	}
	dc, name := r.URL.Query().Get("dcPath"), r.URL.Query().Get("dsName")
	l.serveFile(w, r, l.storeAt(dc, name), "")
}

// serveFile serves one file of a datastore; nil is one that does not exist. via is the host that serves it; empty:
// vCenter.
func (l *Lab) serveFile(w http.ResponseWriter, r *http.Request, s *store, via string) {
	if s == nil {
		dc, name := r.URL.Query().Get("dcPath"), r.URL.Query().Get("dsName")
		deny(w, http.StatusNotFound, "no datastore %q in datacenter %q", name, dc)
		return
	}
	if l.accessible(s) != nil {
		deny(w, http.StatusServiceUnavailable, "datastore %s is not accessible", s.Name)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/folder/")
	local, ok := s.local(path)
	if !ok {
		deny(w, http.StatusBadRequest, "bad path")
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		http.ServeFile(w, r, local)
	case http.MethodPut, http.MethodPost:
		l.upload(w, r, s, Call{Method: "PUT", Target: fmt.Sprintf("[%s] %s", s.Name, path), Via: via}, local)
	default:
		deny(w, http.StatusMethodNotAllowed, "%s is not supported", r.Method)
	}
}

func (l *Lab) basicAuth(r *http.Request) bool {
	u, p, ok := r.BasicAuth()
	return ok && u == l.cfg.Username && p == l.cfg.Password
}

func (l *Lab) upload(w http.ResponseWriter, r *http.Request, s *store, call Call, local string) {
	fault := l.ask(l.record(call))
	if status, ok := fault.status(); ok {
		deny(w, status, "injected")
		return
	}
	switch fault {
	case Drop:
		cut()
	case Refuse, FailTask:
		deny(w, http.StatusInternalServerError, "injected")
		return
	case ExpireAll:
		l.ExpireSessions()
		deny(w, http.StatusUnauthorized, "log in first")
		return
	case FullStore:
		deny(w, http.StatusInsufficientStorage, "no space left on %s", s.Name)
		return
	case None, LoseReply, CutUpload:
	}
	body := io.Reader(r.Body)
	percent, short := fault.percent()
	if short {
		body = io.LimitReader(body, r.ContentLength*int64(percent)/100)
	}
	status, err := l.keep(s, call.Target, local, body, r.ContentLength)
	if short || fault == LoseReply {
		cut()
	}
	if err != nil {
		deny(w, status, "%v", err)
		return
	}
	w.WriteHeader(status)
}

// keep writes an upload and returns the HTTP status.
func (l *Lab) keep(s *store, path, local string, body io.Reader, size int64) (int, error) {
	if u := l.user(s.dc, path, true); u != "" {
		return http.StatusInternalServerError, fmt.Errorf("%s is in use by %s", path, u)
	}
	if f := s.room(path, max(0, size)); f != nil {
		return http.StatusInsufficientStorage, fmt.Errorf("no space left on %s", s.Name)
	}
	if info, err := os.Stat(local); err == nil && info.IsDir() {
		return http.StatusMethodNotAllowed, errors.New("target is a directory")
	}
	if s.VSAN && !s.hasTop(path) {
		return http.StatusInternalServerError, fmt.Errorf("%s: a top folder of %s is made by the namespace manager", path, s.Name)
	}
	status := http.StatusCreated
	if exists(local) {
		status = http.StatusOK
	}
	if err := os.MkdirAll(filepath.Dir(local), 0o700); err != nil {
		return http.StatusInternalServerError, err
	}
	f, err := os.Create(local)
	if err != nil {
		return http.StatusInternalServerError, err
	}
	_, err = io.Copy(f, body)
	if err := errors.Join(err, f.Close()); err != nil {
		return http.StatusInternalServerError, err
	}
	if err := l.refresh(s); err != nil {
		return http.StatusInternalServerError, err
	}
	return status, nil
}
