package daemon

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const hookURL = "https://hooks.example.net/T0/hunter2?token=hunter3"

// far is the other side of a webhook.
type far struct {
	mu    sync.Mutex
	fails []error // of each attempt; a status as codeError
	slow  time.Duration
	got   []string // texts of the events that were taken
	tries []time.Time
}

type codeError int

func (e codeError) Error() string { return http.StatusText(int(e)) }

func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	n := len(f.tries)
	f.tries = append(f.tries, time.Now())
	f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := (wall{}).Sleep(r.Context(), f.slow); err != nil {
		return nil, err
	}
	status := http.StatusOK
	if n < len(f.fails) && f.fails[n] != nil {
		var code codeError
		if !errors.As(f.fails[n], &code) {
			return nil, f.fails[n]
		}
		status = int(code)
	}
	if status < 300 {
		var e Event
		if err := json.Unmarshal(body, &e); err != nil || r.Method != http.MethodPost || r.URL.String() != hookURL || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != "lkv/1" {
			return nil, errors.Join(err, fmt.Errorf("a strange request: %v", r))
		}
		f.mu.Lock()
		f.got = append(f.got, e.Text)
		f.mu.Unlock()
	}
	return &http.Response{StatusCode: status, Status: "500 hunter2", Header: http.Header{"Location": {"https://elsewhere.example.net/"}}, Body: io.NopCloser(strings.NewReader("hunter2")), Request: r}, nil
}

// hook is a webhook that runs until end is called.
type hook struct {
	*Webhook
	fate map[string]int
	log  bytes.Buffer
	end  func()
}

func newHook(t *testing.T, f *far) *hook {
	t.Helper()
	h := &hook{fate: map[string]int{}}
	var mu sync.Mutex
	w, err := NewWebhook(WebhookOptions{URL: hookURL, UserAgent: "lkv/1", Transport: f, Clock: wall{}, Rand: func() float64 { return 0 },
		Log: slog.New(slog.NewTextHandler(&h.log, nil)), Sent: func(s string) { mu.Lock(); defer mu.Unlock(); h.fate[s]++ }})
	if err != nil {
		t.Fatal(err)
	}
	h.Webhook = w
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	h.end = func() { cancel(); <-ended }
	return h
}

func send(h *hook, from, to int) {
	for i := from; i <= to; i++ {
		h.Send(Event{Kind: RollStarted, Text: fmt.Sprint(i)})
	}
}

func TestWebhookTriesAgain(t *testing.T) {
	gone := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		fails []error
		tries int
		fate  map[string]int
		says  string
	}{
		"good":      {nil, 2, map[string]int{"sent": 2}, ""},
		"recovers":  {[]error{gone, codeError(503), codeError(429), nil}, 5, map[string]int{"sent": 2}, ""},
		"refused":   {[]error{codeError(403)}, 2, map[string]int{"sent": 1, "failed": 1}, "it answers 403 Forbidden"},
		"redirects": {[]error{codeError(302)}, 2, map[string]int{"sent": 1, "failed": 1}, "it answers 302 Found"},
		"away":      {[]error{gone, gone, gone, gone, gone, gone}, 7, map[string]int{"sent": 1, "failed": 1}, "it refuses the connection"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &far{fails: c.fails}
			h := newHook(t, f)
			send(h, 1, 2)
			time.Sleep(5 * time.Minute)
			h.end()
			if len(f.tries) != c.tries {
				t.Errorf("%s: %d attempts, want %d", name, len(f.tries), c.tries)
			}
			if diff := cmp.Diff(c.fate, h.fate); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if !strings.Contains(h.log.String(), c.says) || c.says == "" && h.log.Len() > 0 {
				t.Errorf("%s: the log says %s", name, &h.log)
			}
			for i := 2; name == "away" && i < attempts; i++ {
				if a, b := f.tries[i-1].Sub(f.tries[i-2]), f.tries[i].Sub(f.tries[i-1]); b < 2*a {
					t.Errorf("pauses of %s and then %s", a, b)
				}
			}
		})
	}
}

// However slow the other side is, whoever sends does not wait, and memory does not grow.
func TestWebhookDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{slow: time.Hour}
		h := newHook(t, f)
		synctest.Wait()
		from := time.Now()
		send(h, 1, 1)
		synctest.Wait() // the first is on its way
		send(h, 2, queued+101)
		if took := time.Since(from); took != 0 {
			t.Errorf("sending took %s", took)
		}
		if h.fate["dropped"] != 100 {
			t.Errorf("%+v", h.fate)
		}
		h.end()
		if took := time.Since(from); took > answer+farewell {
			t.Errorf("the end took %s", took)
		}
	})
}

func TestWebhookSaysFarewell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{slow: time.Second}
		h := newHook(t, f)
		send(h, 1, 4)
		h.end()
		if diff := cmp.Diff([]string{"1", "2", "3", "4"}, f.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Nothing of the address gets into a log, whatever goes wrong (A13).
func TestWebhookIsDiscreet(t *testing.T) {
	leaks := func(text string) bool {
		return strings.Contains(text, "hunter") || strings.Contains(text, "example.net")
	}
	host := "hooks.example.net"
	for says, err := range map[string]error{
		"it does not answer in time":       &net.OpError{Op: "dial " + host, Err: context.DeadlineExceeded},
		"its name is not found":            &net.DNSError{Name: host, Err: "no such host"},
		"it refuses the connection":        &net.OpError{Op: "dial", Addr: &net.UnixAddr{Name: host}, Err: syscall.ECONNREFUSED},
		"its certificate is not trusted":   x509.HostnameError{Host: host, Certificate: &x509.Certificate{}},
		"the connection failed":            errors.New("EOF from " + hookURL),
		"it answers 500 Internal Server":   codeError(500),
		"it answers 404 Not Found":         codeError(404),
		"it answers 301 Moved":             codeError(301),
		"the connection failed\"":          &url.Error{Op: "Post", URL: hookURL, Err: io.EOF},
		"its certificate is not trusted\"": x509.UnknownAuthorityError{},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &far{fails: []error{err, err, err, err, err, err}}
			h := newHook(t, f)
			send(h, 1, 1)
			time.Sleep(5 * time.Minute)
			h.end()
			if log := h.log.String(); leaks(log) || !strings.Contains(log, says) {
				t.Errorf("%s: %s", says, log)
			}
		})
	}
	for _, bad := range []string{"", "hooks.example.net/hunter2", "ftp://hooks.example.net/hunter2", "https://%zz.example.net/hunter2", "https:///hunter2", "https://hooks.example.net/\x7fhunter2"} {
		if _, err := NewWebhook(WebhookOptions{URL: bad}); err == nil || leaks(err.Error()) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Over a real connection, with nothing set that may be left out.
func TestWebhookPosts(t *testing.T) {
	got := make(chan string, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer web.Close()
	w, err := NewWebhook(WebhookOptions{URL: web.URL, Clock: wall{}, Rand: func() float64 { return 0 }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.Send(Event{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kind: Refused, Fleet: "workers", VM: "wrk-01", Code: "R05", Reason: "it has a snapshot", Text: "t"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Run(ctx)
	if diff := cmp.Diff(`{"time":"2026-01-02T03:04:05Z","event":"refused","fleet":"workers","vm":"wrk-01","code":"R05","reason":"it has a snapshot","text":"t"}`, <-got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
