package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// StoreConfig names a place for ISOs.
type StoreConfig struct {
	Name       string // of the store block
	Datacenter string // name or inventory path; empty: the only one
	Datastore  string // name, inventory path, or datastore cluster
	Folder     string // top folder; default "lkv"
}

// Store is a folder of a datastore. It has the methods package push asks of a store. Paths are relative to the
// folder and use slashes.
type Store struct {
	ds   datastore
	name string
	root string
}

// Store finds the datastore. Of a datastore cluster it takes the one that has the folder already, else the one with
// most free space, so that pushes keep going to one place.
func (c *Client) Store(ctx context.Context, cfg StoreConfig) (*Store, error) {
	s := &Store{name: cfg.Name, root: path.Clean(strings.Trim(cfg.Folder, "/"))}
	if s.root == "." {
		s.root = "lkv"
	}
	if strings.HasPrefix(s.root, "..") {
		return nil, fmt.Errorf("store %s: folder %q leaves the datastore", cfg.Name, cfg.Folder)
	}
	dc, err := c.datacenter(ctx, cfg.Datacenter)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Name, err)
	}
	list, err := usable(c.datastores(ctx, dc, cfg.Datastore))
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", cfg.Name, err)
	}
	s.ds = list[0]
	for _, d := range list {
		if len(list) == 1 {
			break
		}
		if _, err := d.search(ctx, s.root, "*"); err == nil {
			s.ds = d
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("store %s: %w", cfg.Name, err)
		}
	}
	return s, nil
}

// Name returns the store's name in lkv.hcl.
func (s *Store) Name() string { return s.name }

// Path returns the datastore path, for example "[iso-nfs] lkv/worker/0123.iso".
func (s *Store) Path(p string) string { return s.ds.path(s.in(p)) }

// Datacenter returns the inventory path of the store's datacenter.
func (s *Store) Datacenter() string { return s.ds.dc.InventoryPath }

func (s *Store) in(p string) string { return path.Join(s.root, p) }

// Stat returns size and modification time of a file.
func (s *Store) Stat(ctx context.Context, p string) (fs.FileInfo, error) {
	return s.ds.stat(ctx, s.in(p))
}

// List returns the files of a folder.
func (s *Store) List(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	list, err := s.ds.search(ctx, s.in(dir), "*")
	if err != nil {
		return nil, err
	}
	var out []fs.FileInfo
	for _, f := range list {
		if !f.dir {
			out = append(out, f)
		}
	}
	return out, nil
}

// Free returns the free bytes of the datastore, read afresh.
func (s *Store) Free(ctx context.Context) (int64, error) {
	list, err := s.ds.c.retrieve(ctx, want{s.ds.ref, []string{"summary.freeSpace"}})
	if err != nil {
		return 0, fmt.Errorf("read free space of [%s]: %w", s.ds.name, err)
	}
	free, ok := get[int64](list[0], "summary.freeSpace")
	if !ok {
		return -1, nil
	}
	return free, nil
}

// Mkdir makes a folder with its parents.
func (s *Store) Mkdir(ctx context.Context, dir string) error { return s.ds.mkdir(ctx, s.in(dir)) }

// Open streams a file through vCenter.
func (s *Store) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	return s.ds.open(ctx, s.in(p), 0)
}

// Put uploads a file through vCenter. Only temporary names are let through.
func (s *Store) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	return s.ds.put(ctx, s.in(p), r, size)
}

func (d datastore) put(ctx context.Context, p string, r io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, d.url(p).String(), io.NopCloser(r))
	if err != nil {
		return err
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := d.c.http(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		return statusError(res)
	}
	return nil
}

// Move renames a file of the store. With overwrite false an existing target is fs.ErrExist.
func (s *Store) Move(ctx context.Context, from, to string, overwrite bool) error {
	dc := s.ds.dc.Reference()
	res, err := methods.MoveDatastoreFile_Task(ctx, s.ds.c.vim, &types.MoveDatastoreFile_Task{
		This: *s.ds.c.vim.ServiceContent.FileManager, SourceName: s.Path(from), SourceDatacenter: &dc,
		DestinationName: s.Path(to), DestinationDatacenter: &dc, Force: types.NewBool(overwrite),
	})
	if err == nil {
		_, err = s.ds.c.await(ctx, res.Returnval, nil, taskTime)
	}
	switch {
	case isFault[*types.FileAlreadyExists](err):
		return fmt.Errorf("move to %s: %w", s.Path(to), fs.ErrExist)
	case isMissing(err):
		return fmt.Errorf("move %s: %w", s.Path(from), fs.ErrNotExist)
	}
	return err
}

// Delete removes an unfinished upload. Nothing else can be deleted through a Store.
func (s *Store) Delete(ctx context.Context, p string) error {
	dc := s.ds.dc.Reference()
	res, err := methods.DeleteDatastoreFile_Task(ctx, s.ds.c.vim, &types.DeleteDatastoreFile_Task{
		This: *s.ds.c.vim.ServiceContent.FileManager, Name: s.Path(p), Datacenter: &dc,
	})
	if err == nil {
		_, err = s.ds.c.await(ctx, res.Returnval, nil, taskTime)
	}
	if isMissing(err) {
		return fmt.Errorf("delete %s: %w", s.Path(p), fs.ErrNotExist)
	}
	return err
}

// url addresses a file over HTTP.
func (d datastore) url(p string) *url.URL {
	u := d.c.vim.URL()
	u.Path = "/folder/" + p
	u.RawQuery = url.Values{"dcPath": {d.dc.InventoryPath}, "dsName": {d.name}}.Encode()
	return u
}

// open streams a file, at most limit bytes of it when limit is not zero.
func (d datastore) open(ctx context.Context, p string, limit int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url(p).String(), nil)
	if err != nil {
		return nil, err
	}
	if limit > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=0-%d", limit-1))
	}
	res, err := d.c.http(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return res.Body, nil
	case http.StatusNotFound:
		err = fmt.Errorf("%s: %w", d.path(p), fs.ErrNotExist)
	default:
		err = statusError(res)
	}
	res.Body.Close()
	return nil, err
}

// http sends a request with the session's cookie. Sessions expire while nothing is asked, so each starts with a
// cheap question that logs in again when needed.
func (c *Client) http(req *http.Request) (*http.Response, error) {
	if _, err := c.retrieve(req.Context(), want{c.vim.ServiceContent.RootFolder, []string{"name"}}); err != nil {
		return nil, fmt.Errorf("renew the session: %w", err)
	}
	req.Header.Set("User-Agent", c.vim.UserAgent)
	res, err := c.vim.Client.Client.Do(req)
	if err != nil {
		return nil, hideURL(err)
	}
	return res, nil
}

func statusError(res *http.Response) error {
	hint := ""
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = ": the role needs Datastore.Browse and Datastore.FileManagement on the datacenter (R20)"
	case http.StatusInsufficientStorage:
		hint = ": the datastore is full (R21)"
	case http.StatusNotFound:
		hint = ": vCenter does not know this datacenter, datastore or folder"
	}
	return fmt.Errorf("vCenter answered %s%s", res.Status, hint)
}
