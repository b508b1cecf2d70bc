package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// stallTime is how long nothing may move in a transfer of an ISO; registries hash a gigabyte in a few seconds.
const stallTime = 5 * time.Minute

var errStalled = fmt.Errorf("nothing moved for %s: %w", stallTime, errBroken)

// errChanged says that a file on this machine is not what its manifest says.
var errChanged = errors.New("it changed since the build: build the image again")

// errStatus says that a registry does not tell how far an upload came.
var errStatus = errors.New("the registry does not say how far the upload came")

// at returns an address in the place's repository, for example at("blobs", "sha256:…").
func (p *place) at(parts ...string) string {
	u := url.URL{Scheme: p.repo.Scheme(), Host: p.repo.RegistryStr(), Path: "/v2/" + p.repo.RepositoryStr() + "/" + strings.Join(parts, "/")}
	return u.String()
}

// answer is what a registry says beside a body.
type answer struct {
	code   int
	header http.Header
	length int64
	url    *url.URL // of the request that was answered, after redirects
}

// ask makes one request and returns the answer, when its code is one of ok.
func (p *place) ask(req *http.Request, ok ...int) (answer, error) {
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, ok...); err != nil {
		return answer{}, err
	}
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, resp.Request.URL}, nil
}

// size returns a blob's size at the registry, bytes; -1 when there is no such blob.
func (p *place) size(ctx context.Context, h v1.Hash) (n int64, err error) {
	err = p.wait.again(ctx, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.at("blobs", h.String()), nil)
		if err != nil {
			return false, err
		}
		resp, err := p.ask(req, http.StatusOK, http.StatusNotFound)
		if err != nil {
			return false, err
		}
		if n = resp.length; resp.code == http.StatusNotFound {
			n = -1
		}
		return false, nil
	})
	if err != nil {
		return 0, explain(err, p.repo.Digest(h.String()))
	}
	return n, nil
}

// put writes a manifest or an index under a tag or its digest.
func (p *place) put(ctx context.Context, d document, under string) error {
	err := p.wait.again(ctx, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.at("manifests", under), bytes.NewReader(d.raw))
		if err != nil {
			return false, err
		}
		req.Header.Set("Content-Type", string(d.mediaType))
		_, err = p.ask(req, http.StatusOK, http.StatusCreated, http.StatusAccepted)
		return false, err
	})
	if err != nil {
		return explain(err, p.repo.Tag("latest"))
	}
	return nil
}

// upload is a blob on its way to a registry. A broken one goes on where the registry says it stopped, when it says so.
type upload struct {
	p    *place
	f    File
	from io.ReaderAt
	tell func(n int64) // told how far it is; may go back

	mu       sync.Mutex
	turn     int    // of the request that may read; net/http may go on reading the body of a broken one
	location string // where the registry wants the rest; empty: nothing is under way
	have     int64  // bytes the registry has
	sent     int64  // bytes that left this machine, over all tries
	sum      hash.Hash
	summed   int64 // bytes in sum, which are always the first of the file
}

// send uploads the blob and returns when the registry has taken it under its digest.
func (u *upload) send(ctx context.Context) error {
	u.sum = sha256.New()
	err := u.p.wait.again(ctx, func() (bool, error) {
		before := u.have
		err := u.try(ctx)
		if err != nil && temporary(err) {
			u.resume(ctx)
		}
		return u.have-before >= progressStep, err
	})
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.f.Name, explain(err, u.p.repo.Digest(u.f.digest().String())))
	}
	return nil
}

// try makes the requests that are missing: begin, send the rest, finish.
func (u *upload) try(ctx context.Context) error {
	if u.location == "" {
		there, err := u.p.size(ctx, u.f.digest()) // perhaps only the answer was lost
		if err != nil || there == u.f.Size {
			return err
		}
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	if u.have < u.f.Size {
		if err := u.rest(ctx); err != nil {
			return err
		}
	}
	if got := hexOf(u.sum.Sum(nil)); u.summed == u.f.Size && got != u.f.SHA256 {
		return fmt.Errorf("%s has digest %s instead of %s: %w", u.f.Name, got, u.f.SHA256, errChanged)
	}
	return u.finish(ctx)
}

func (u *upload) begin(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.p.at("blobs", "uploads")+"/", nil)
	if err != nil {
		return err
	}
	resp, err := u.p.ask(req, http.StatusAccepted)
	if err != nil {
		return err
	}
	u.have = 0
	return u.next(resp)
}

// next takes over where the registry wants to go on.
func (u *upload) next(resp answer) error {
	to, err := resp.url.Parse(resp.header.Get("Location"))
	if err != nil || resp.header.Get("Location") == "" {
		return fmt.Errorf("%w: the registry does not say where an upload goes", ErrFormat)
	}
	u.location = to.String()
	return nil
}

// rest sends what the registry does not have, in one request.
func (u *upload) rest(ctx context.Context) error {
	ctx, w := watch(ctx)
	defer w.stop()
	from := u.have
	body := func() (io.ReadCloser, error) {
		return io.NopCloser(&sending{u: u, w: w, at: from, turn: u.nextTurn()}), nil
	}
	defer u.nextTurn()
	first, err := body()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.location, first)
	if err != nil {
		return err
	}
	req.GetBody, req.ContentLength = body, u.f.Size-from
	req.Header.Set("Content-Type", "application/octet-stream")
	if from > 0 { // else some registries insist on a limit for chunks
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", from, u.f.Size-1))
	}
	resp, err := u.p.ask(req, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if err != nil {
		return w.why(ctx, err)
	}
	u.have = u.f.Size
	return u.next(resp)
}

func (u *upload) nextTurn() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turn++
	return u.turn
}

func (u *upload) finish(ctx context.Context) error {
	ctx, w := watch(ctx)
	defer w.stop()
	to, err := url.Parse(u.location)
	if err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	q := to.Query()
	q.Set("digest", u.f.digest().String())
	to.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), nil)
	if err != nil {
		return err
	}
	_, err = u.p.ask(req, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	return w.why(ctx, err)
}

// resume finds out how far a broken upload came; when that cannot be known, the next try begins anew. An upload that
// was finished and lost its answer begins anew as well, and is then found to be there.
func (u *upload) resume(ctx context.Context) {
	if n, err := u.status(ctx); err == nil && n > 0 && n <= u.f.Size {
		u.have = n
	} else {
		u.location, u.have = "", 0
	}
	u.tell(u.have)
}

func (u *upload) status(ctx context.Context) (int64, error) {
	if u.location == "" {
		return 0, errStatus
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.location, nil)
	if err != nil {
		return 0, err
	}
	resp, err := u.p.ask(req, http.StatusNoContent)
	if err != nil {
		return 0, err
	}
	var last int64
	if _, err := fmt.Sscanf(resp.header.Get("Range"), "0-%d", &last); err != nil || last == 0 { // "0-0" is none or one
		return 0, errStatus
	}
	return last + 1, u.next(resp)
}

// sending reads the file for one request, counts, and hashes every byte of the file once.
type sending struct {
	u    *upload
	w    watched
	at   int64
	turn int
}

// Read implements io.Reader.
func (s *sending) Read(b []byte) (int, error) {
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	if s.turn != s.u.turn {
		return 0, net.ErrClosed
	}
	if s.at >= s.u.f.Size {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), s.u.f.Size-s.at)]
	n, err := s.u.from.ReadAt(b, s.at)
	switch ended := errors.Is(err, io.EOF); {
	case ended && n == len(b):
		err = nil
	case ended:
		err = fmt.Errorf("%s is shorter than %d bytes: %w", s.u.f.Name, s.u.f.Size, errChanged)
	}
	if old := s.u.summed - s.at; old >= 0 && old < int64(n) {
		s.u.sum.Write(b[old:n])
		s.u.summed += int64(n) - old
	}
	s.at += int64(n)
	s.u.sent += int64(n)
	s.w.touch()
	s.u.tell(s.at)
	return n, err
}

// watched is a context that ends when nothing moves.
type watched struct {
	timer *time.Timer
	stop  func()
}

func watch(ctx context.Context) (context.Context, watched) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	return ctx, watched{t, func() { t.Stop(); cancel(nil) }}
}

func (w watched) touch() { w.timer.Reset(stallTime) }

// why adds that a transfer was cut for standing still.
func (w watched) why(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return errors.Join(errStalled, err)
	}
	return err
}

// content opens what a file holds.
func (f File) content() (io.ReaderAt, func(), error) {
	if f.Path == "" {
		return bytes.NewReader(f.Raw), func() {}, nil
	}
	r, err := os.Open(f.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", f.Name, err)
	}
	return r, func() { _ = r.Close() }, nil
}
