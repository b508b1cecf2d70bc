package vsphere

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/vapi/library"
)

// Mkdir makes the item of an image. It has no type: a type could have its own idea of what an item holds.
func (l *Library) Mkdir(ctx context.Context, dir string) error {
	if err := l.refused(); err != nil {
		return err
	}
	image, _, _ := strings.Cut(strings.Trim(dir, "/"), "/")
	_, err := l.entry(ctx, image)
	if !errors.Is(err, fs.ErrNotExist) {
		return judged(err)
	}
	spec := map[string]any{"create_spec": map[string]any{
		"library_id": l.lib.ID, "name": image, "description": "Bootable ISOs of lkv, named after their digests.",
	}}
	var id string
	err = l.api.Do(ctx, l.api.Resource("/com/vmware/content/library/item").Request(http.MethodPost, spec), &id)
	if err != nil && !errors.Is(err, fs.ErrExist) { // two pushes at once
		return judged(fmt.Errorf("make item %s in content library %s: %w", image, l.lib.Name, err))
	}
	return nil
}

// Put uploads a file to an update session of its own; only Move makes it part of the item. vCenter is told size and
// SHA-256 and checks both. An ISO that the item has already is fs.ErrExist: its file may be what VMs boot from, and
// adding it again would replace it.
func (l *Library) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	if err := l.refused(); err != nil {
		return err
	}
	if !temporary(p) {
		return judged(&ForbiddenError{"Put", p + " is no temporary name of lkv"})
	}
	if err := l.Delete(ctx, p); err != nil && !errors.Is(err, fs.ErrNotExist) { // what the last try left
		return err
	}
	image, name := nameIn(part.ReplaceAllString(p, ""))
	sum, r, err := digestOf(name, r, size)
	if err != nil {
		return judged(err)
	}
	it, err := l.entry(ctx, image)
	if err != nil {
		return judged(err)
	}
	id, err := l.begin(ctx, it, p)
	if err != nil {
		return judged(err)
	}
	u := &update{id, name}
	l.remember(p, u)
	if err := l.fill(ctx, it, p, *u, sum, r, size); err != nil {
		if l.discard(ctx, id) == nil {
			l.remember(p, nil)
		}
		if errors.Is(err, fs.ErrNotExist) { // not of the file, but of the session: it ended meanwhile
			return &StoreError{fmt.Errorf("upload %s to item %s of content library %s: %v", name, image, l.lib.Name, err), true} //nolint:errorlint // on purpose
		}
		return judged(fmt.Errorf("upload %s to item %s of content library %s: %w", name, image, l.lib.Name, err))
	}
	return nil
}

func (l *Library) remember(p string, u *update) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.updates[p] = u; u == nil {
		delete(l.updates, p)
	}
}

func (l *Library) update(p string) (update, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.updates[p]; u != nil {
		return *u, nil
	}
	return update{}, fmt.Errorf("upload %s: %w", p, fs.ErrNotExist)
}

// digestOf returns the SHA-256 of what is to be uploaded. That of an ISO is its name; anything else is small.
func digestOf(name string, r io.Reader, size int64) (string, io.Reader, error) {
	if digest, iso := strings.CutSuffix(name, ".iso"); iso {
		return digest, r, nil
	}
	raw, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(raw)) != size {
		err = fmt.Errorf("%s has %d bytes or more instead of %d", name, len(raw), size)
	}
	return fmt.Sprintf("%x", sha256.Sum256(raw)), bytes.NewReader(raw), err
}

// fill notes whose the session is, adds the file and sends it.
func (l *Library) fill(ctx context.Context, it library.Item, p string, u update, sum string, r io.Reader, size int64) error {
	_, who, _ := strings.Cut(path.Base(p), ".lkv-part-")
	text := note(u.id, who)
	if err := again(ctx, func() error { return l.api.UpdateLibraryItem(ctx, &library.Item{ID: it.ID, Description: &text}) }); err != nil {
		return fmt.Errorf("note whose the update is: %w", err)
	}
	if strings.HasSuffix(u.name, ".iso") {
		if err := l.absent(ctx, it, u); err != nil {
			return err
		}
		l.api.gate.permit(adding(u.id, u.name))
	}
	f, err := l.api.AddLibraryItemFile(ctx, u.id, library.UpdateFile{
		Name: u.name, SourceType: "PUSH", Size: size, Checksum: &library.Checksum{Algorithm: "SHA256", Checksum: sum},
	})
	if err != nil {
		return err
	}
	if f.UploadEndpoint == nil {
		return errors.New("vCenter gave no address for the upload")
	}
	return l.sendTo(ctx, f.UploadEndpoint.URI, u, r, size)
}

// absent makes sure that the item has no such file. A session begins with a list of the item's files, and nobody else
// changes the item while it lasts.
func (l *Library) absent(ctx context.Context, it library.Item, u update) error {
	_, err := l.fileIn(ctx, u.id, u.name)
	if err == nil {
		return fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var list map[string]stored
	if err := again(ctx, func() (err error) { list, err = l.storedIn(ctx, it.ID); return err }); err != nil {
		return err
	}
	if _, ok := list[u.name]; ok {
		return fs.ErrExist
	}
	return nil
}

// sendTo uploads to the address that vCenter gave, always by the host that this client is connected to: the session
// goes to nobody else.
func (l *Library) sendTo(ctx context.Context, uri string, u update, r io.Reader, size int64) error {
	to, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("address for the upload: %w", hideURL(err))
	}
	base := l.c.vim.URL()
	to.Scheme, to.Host, to.User = base.Scheme, base.Host, nil
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go l.keepAlive(ctx, u.id)
	req, err := upload(ctx, to, r, size)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", l.c.vim.UserAgent)
	l.api.gate.permit(uploading(to.Path))
	res, err := l.api.Client.Client.Client.Do(req)
	if err != nil {
		return hideURL(err)
	}
	return res.Body.Close()
}

// keepAlive tells vCenter now and then that bytes still move; a session without a sign of life ends.
func (l *Library) keepAlive(ctx context.Context, id string) {
	for sleep(ctx, aliveTime) == nil {
		_ = l.api.KeepAliveLibraryItemUpdateSession(ctx, id) // the upload itself says when it is over
	}
}

// received returns what vCenter has received of an upload that is not complete.
func (l *Library) received(ctx context.Context, p string) (file, error) {
	u, err := l.update(p)
	if err != nil {
		return file{}, err
	}
	f, err := l.ready(ctx, u)
	return file{name: path.Base(p), size: max(f.Size, f.BytesTransferred), changed: time.Time{}}, err
}

// Move completes the update session of an upload: the file becomes part of the item, whose version rises, at once.
// With overwrite false a file that is there already is fs.ErrExist.
func (l *Library) Move(ctx context.Context, from, to string, overwrite bool) error {
	if err := l.refused(); err != nil {
		return err
	}
	if !temporary(from) || path.Clean(to) != part.ReplaceAllString(path.Clean(from), "") {
		return judged(&ForbiddenError{"Move", from + " is no upload of " + to})
	}
	u, err := l.update(from)
	if err != nil {
		return judged(err)
	}
	image, _ := nameIn(to)
	before, err := l.stored(ctx, image)
	if _, there := before[u.name]; err == nil && there && !overwrite {
		err = fs.ErrExist
	}
	if err == nil {
		err = l.complete(ctx, u)
	}
	if err != nil {
		return judged(fmt.Errorf("move %s into place: %w", to, err))
	}
	l.remember(from, nil)
	return judged(l.unmoved(ctx, image, before))
}

// unmoved checks that the ISOs an item had are still where they were: VMs boot from these paths. vCenter gives files
// new names on the datastore when they are updated, and none of these was.
func (l *Library) unmoved(ctx context.Context, image string, before map[string]stored) error {
	after, err := l.stored(ctx, image)
	if err != nil {
		return fmt.Errorf("look at item %s again: %w", image, err)
	}
	for name, was := range before {
		if now := after[name]; strings.HasSuffix(name, ".iso") && now.at != was.at {
			return fmt.Errorf("vCenter moved %s of item %s from %s to %q during an update: VMs that boot from it need lkv reconcile before their next start", name, image, l.files.ds.path(was.at), now.at)
		}
	}
	return nil
}

// Delete gives up an upload.
func (l *Library) Delete(ctx context.Context, p string) error {
	if !temporary(p) {
		return judged(&ForbiddenError{"Delete", p + " is no unfinished upload; see Remove"})
	}
	u, err := l.update(p)
	if err == nil {
		err = l.discard(ctx, u.id)
	}
	if err == nil {
		l.remember(p, nil)
	}
	return judged(err)
}

// Remove removes a file with a final name from its item; see Store.Remove. What Keeps speaks of is refused.
func (l *Library) Remove(ctx context.Context, p string) error {
	image, name := nameIn(p)
	if why := l.Keeps(); why != "" {
		return judged(errors.New(why))
	}
	if !finished(p) {
		return judged(&ForbiddenError{"Remove", p + " is no file of an image"})
	}
	it, err := l.entry(ctx, image)
	if err != nil {
		return judged(err)
	}
	id, err := l.begin(ctx, it, "remove "+p)
	if err != nil {
		return judged(err)
	}
	if _, err = l.fileIn(ctx, id, name); err == nil {
		l.api.gate.permit(removing(id, name))
		err = l.api.RemoveLibraryItemUpdateSessionFile(ctx, id, name)
	}
	if err == nil {
		err = l.complete(ctx, update{id: id})
	}
	if err != nil {
		return judged(errors.Join(fmt.Errorf("remove %s: %w", l.Path(p), err), l.discard(ctx, id)))
	}
	return nil
}
