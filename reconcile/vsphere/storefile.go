package vsphere

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

// Open streams a file through vCenter. When the connection breaks, it goes on where it was.
func (s *folder) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	return s.stream(ctx, p, 0, -1)
}

// OpenRange streams at most n bytes of a file from an offset on. A server that does not know ranges sends the whole
// file, of which the rest is thrown away here.
func (s *folder) OpenRange(ctx context.Context, p string, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 {
		return nil, judged(fmt.Errorf("read %s: %d bytes at %d: neither may be negative", s.Path(p), n, off))
	}
	if n == 0 {
		return http.NoBody, nil
	}
	return s.stream(ctx, p, off, n)
}

func (s *folder) stream(ctx context.Context, p string, off, n int64) (io.ReadCloser, error) {
	r := &resumed{ctx: ctx, ds: s.ds, path: s.in(p), off: off, left: n}
	if err := r.open(); err != nil {
		return nil, judged(err)
	}
	return r, nil
}

// mostCuts is how often one download is continued; then it is for the caller to begin anew.
const mostCuts = 3

// resumed is a download that is continued after the connection was cut.
type resumed struct {
	ctx  context.Context //nolint:containedctx // a reader has no other place for it
	ds   datastore
	path string
	off  int64 // of the next byte
	left int64 // bytes; negative: to the end
	cuts int
	body io.ReadCloser
}

func (r *resumed) open() (err error) {
	r.body, err = r.ds.open(r.ctx, r.path, r.off, r.left)
	return err
}

// Read implements io.Reader.
func (r *resumed) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.left > 0 {
		p = p[:min(int64(len(p)), r.left)]
	}
	n, err := r.body.Read(p)
	r.off += int64(n)
	if r.left > 0 {
		r.left -= int64(n)
	}
	if err == nil || err == io.EOF { //nolint:errorlint // readers return it bare
		return n, err
	}
	err = &wireError{err}
	if r.cuts++; r.cuts > mostCuts || !passing(err) || r.ctx.Err() != nil {
		return n, judged(err)
	}
	r.body.Close()
	return n, judged(r.open())
}

// Close implements io.Closer.
func (r *resumed) Close() error { return r.body.Close() }

// put uploads a file through vCenter.
func (d datastore) put(ctx context.Context, p string, r io.Reader, size int64) error {
	req, err := upload(ctx, d.url(p), r, size)
	if err != nil {
		return err
	}
	res, err := d.c.http(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return accepted("vCenter", res)
}

// upload is the request of a PUT.
func upload(ctx context.Context, to *url.URL, r io.Reader, size int64) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), io.NopCloser(r))
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	return req, nil
}

func accepted(who string, res *http.Response) error {
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusCreated {
		return nil
	}
	return answered(who, res)
}

// url addresses a file over HTTP.
func (d datastore) url(p string) *url.URL {
	u := d.c.vim.URL()
	fileURL(u, p, url.Values{"dcPath": {d.dc.InventoryPath}, "dsName": {d.name}})
	return u
}

// fileURL makes u address a file. Servers differ in what they take a plus sign for, in a path and in a query, so it
// is always escaped, and blanks are never written as one.
func fileURL(u *url.URL, p string, query url.Values) {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.PathEscape(parts[i]), "+", "%2B")
	}
	u.Path, u.RawPath = "/folder/"+p, "/folder/"+strings.Join(parts, "/")
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
}

// open streams a file from an offset on, at most limit bytes of it unless limit is negative.
func (d datastore) open(ctx context.Context, p string, off, limit int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url(p).String(), nil)
	if err != nil {
		return nil, err
	}
	switch {
	case limit > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+limit-1))
	case off > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	res, err := d.c.http(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusPartialContent:
		return res.Body, nil
	case http.StatusOK:
		if _, err = io.CopyN(io.Discard, res.Body, off); err == nil || err == io.EOF { //nolint:errorlint // CopyN returns it bare
			return res.Body, nil
		}
	case http.StatusRequestedRangeNotSatisfiable:
		res.Body.Close()
		return http.NoBody, nil
	case http.StatusNotFound:
		err = fmt.Errorf("%s: %w", d.path(p), fs.ErrNotExist)
	default:
		err = answered("vCenter", res)
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
		return nil, &wireError{hideURL(err)}
	}
	return res, nil
}
