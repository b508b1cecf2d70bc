package vsphere

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"time"

	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
)

// update is an update session of an item. vCenter has at most one of an item that is active.
type update struct {
	id   string
	name string // of the one file in it
}

const (
	discardTime = 30 * time.Second // for giving up a session after a failure
	aliveTime   = time.Minute      // between two signs of life while bytes move
)

// note is what an item's description says about the update session under way: whose it is. Sessions themselves have no
// place for that. When it is overwritten, the session is nobody's, and vCenter ends it by itself.
func note(session, who string) string {
	return "Bootable ISOs of lkv, named after their digests. Update session " + session + " by " + who
}

var noted = regexp.MustCompile(`Update session (\S+) by ([0-9a-f]{8}-[0-9a-f]+)$`)

// nobody is whose an update session is that no note tells of.
const nobody = "00000000-00000000"

// begin starts an update session of an item. The token makes sure that a lost answer leaves no second session; it
// never comes again, since the login session is in it.
func (l *Library) begin(ctx context.Context, it library.Item, p string) (string, error) {
	l.mu.Lock()
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s %s %s %d", l.api.SessionID(), it.ID, p, l.begun)))
	l.mu.Unlock()
	spec := map[string]any{"client_token": tokenOf(sum), "create_spec": library.Session{LibraryItemID: it.ID}}
	var id string
	err := again(ctx, func() error {
		return l.api.Do(ctx, l.api.Resource("/com/vmware/content/library/item/update-session").Request(http.MethodPost, spec), &id)
	})
	if err != nil {
		return "", fmt.Errorf("begin an update of item %s: %w", it.Name, err)
	}
	l.api.gate.ownSession(id)
	l.mu.Lock()
	l.begun++
	l.mu.Unlock()
	return id, nil
}

// tokenOf writes a digest as a UUID.
func tokenOf(sum [sha256.Size]byte) string {
	b := [16]byte(sum[:16])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// discard ends a session without effect, also when ctx has ended. One that is gone is fine.
func (l *Library) discard(ctx context.Context, id string) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer stop()
	err := again(ctx, func() error { return l.api.CancelLibraryItemUpdateSession(ctx, id) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !inState(err) {
		return fmt.Errorf("cancel update session %s: %w", id, err)
	}
	return l.forget(ctx, id)
}

// forget makes vCenter forget a session that has ended.
func (l *Library) forget(ctx context.Context, id string) error {
	err := again(ctx, func() error { return l.api.DeleteLibraryItemUpdateSession(ctx, id) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete update session %s: %w", id, err)
	}
	return nil
}

// inState tells whether a session is not in the state for a call: it has ended one way or the other.
func inState(err error) bool {
	var e *libraryError
	return errors.As(err, &e) && e.kind == "not_allowed_in_current_state"
}

// complete makes what a session holds part of the item, all of it or nothing, and waits for that. A session that is
// gone or was cancelled is fs.ErrNotExist. One that is complete already, because only the answer was lost, is fine.
func (l *Library) complete(ctx context.Context, u update) error {
	id := u.id
	state, err := l.state(ctx, id)
	if err != nil {
		return err
	}
	if state == "ACTIVE" {
		if u.name != "" {
			if _, err := l.ready(ctx, u); err != nil {
				return err
			}
		}
		if err := l.api.CompleteLibraryItemUpdateSession(ctx, id); err != nil && !inState(err) {
			return fmt.Errorf("complete update session %s: %w", id, err)
		}
	}
	for wait := waits(); state != "DONE"; {
		if state, err = l.state(ctx, id); err != nil {
			return err
		}
		if state != "DONE" {
			if err := sleep(ctx, wait()); err != nil {
				return err
			}
		}
	}
	_ = l.forget(ctx, id) // it has had its effect; vCenter forgets it later by itself
	return nil
}

// waits returns pauses between questions: 20 ms, each half as much again, at most 2 s.
func waits() func() time.Duration {
	d := 20 * time.Millisecond
	return func() time.Duration { defer func() { d = min(d*3/2, 2*time.Second) }(); return d }
}

// state returns ACTIVE or DONE.
func (l *Library) state(ctx context.Context, id string) (string, error) {
	var s *library.Session
	err := again(ctx, func() (err error) { s, err = l.api.GetLibraryItemUpdateSession(ctx, id); return err })
	switch {
	case err != nil:
		return "", fmt.Errorf("ask for update session %s: %w", id, err)
	case s.State == "CANCELED":
		return "", fmt.Errorf("update session %s was cancelled: %w", id, fs.ErrNotExist)
	case s.State == "ERROR":
		return "", fmt.Errorf("update session %s: %w", id, said(s.ErrorMessage))
	}
	return s.State, nil
}

// said makes an error of vCenter's message, which may be missing.
func said(m *rest.LocalizableMessage) error {
	if m != nil && m.DefaultMessage != "" {
		return errors.New("vCenter refuses it: " + m.DefaultMessage)
	}
	return errors.New("vCenter refuses it and does not say why")
}

// fileIn returns the state of a file within a session: of one that is in the item the source is NONE.
func (l *Library) fileIn(ctx context.Context, id, name string) (library.UpdateFile, error) {
	var list []library.UpdateFile
	err := again(ctx, func() (err error) { list, err = l.api.ListLibraryItemUpdateSessionFile(ctx, id); return err })
	if err != nil {
		return library.UpdateFile{}, fmt.Errorf("list the files of update session %s: %w", id, err)
	}
	for _, f := range list {
		if f.Name == name {
			return f, nil
		}
	}
	return library.UpdateFile{}, fmt.Errorf("%s in update session %s: %w", name, id, fs.ErrNotExist)
}

// ready waits until vCenter has checked a file of a session.
func (l *Library) ready(ctx context.Context, u update) (library.UpdateFile, error) {
	for wait := waits(); ; {
		f, err := l.fileIn(ctx, u.id, u.name)
		switch {
		case err != nil:
			return f, err
		case f.Status == "READY":
			return f, nil
		case f.Status == "ERROR":
			return f, fmt.Errorf("check %s: %w", u.name, said(f.ErrorMessage))
		}
		if _, err := l.state(ctx, u.id); err != nil {
			return f, err
		}
		if err := sleep(ctx, wait()); err != nil {
			return f, err
		}
	}
}

// underWay returns temporary names for the uploads to an item that are under way or were broken off, as far as
// vCenter shows their sessions to this user, and remembers the sessions for Delete.
func (l *Library) underWay(ctx context.Context, image string) (names []string, err error) {
	if l.refused() != nil {
		return nil, nil
	}
	err = again(ctx, func() error {
		names = nil
		it, err := l.entry(ctx, image)
		if err != nil {
			return err
		}
		ids, err := l.api.ListLibraryItemUpdateSession(ctx)
		if err != nil {
			return fmt.Errorf("list update sessions: %w", err)
		}
		for _, id := range ids {
			p, err := l.partOf(ctx, it, id)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if p != "" {
				names = append(names, p)
			}
		}
		return nil
	})
	return names, err
}

// partOf returns the temporary name of what a session of the item is about; empty: the session is no longer active, or
// another item's.
func (l *Library) partOf(ctx context.Context, it library.Item, id string) (string, error) {
	s, err := l.api.GetLibraryItemUpdateSession(ctx, id)
	if err != nil || s.LibraryItemID != it.ID || s.State != "ACTIVE" {
		return "", err
	}
	files, err := l.api.ListLibraryItemUpdateSessionFile(ctx, id)
	if err != nil {
		return "", err
	}
	name := "upload"
	for _, f := range files {
		if f.SourceType == "PUSH" {
			name = f.Name
		}
	}
	who := nobody
	if it.Description != nil {
		if m := noted.FindStringSubmatch(*it.Description); m != nil && m[1] == id {
			who = m[2]
		}
	}
	p := pathOf(it.Name, name) + ".lkv-part-" + who
	if who != nobody {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.updates[p] == nil {
			l.updates[p] = &update{id, name}
			l.api.gate.ownSession(id)
		}
	}
	return path.Clean(p), nil
}
