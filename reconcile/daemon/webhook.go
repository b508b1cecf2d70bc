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
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/lkv-io/lkv/reconcile"
)

const (
	queued   = 256              // events that wait while the other side is slow; more are dropped and counted
	attempts = 6                // of each event: with the pauses about a minute
	answer   = 10 * time.Second // for one attempt
	farewell = 5 * time.Second  // for what is queued when the program ends
)

// WebhookOptions say where events go. Transport and Sent may be nil.
type WebhookOptions struct {
	URL       string // http or https; it may carry a token, so it is in no error and no log
	UserAgent string
	Transport http.RoundTripper // default http.DefaultTransport
	Clock     reconcile.Clock
	Rand      func() float64 // from 0 to below 1
	Log       *slog.Logger
	Sent      func(result string) // told the fate of every event: "sent", "failed" or "dropped"
}

// Webhook posts events as JSON, one after the other. An event whose answer was lost is posted again, so that the other
// side may see it twice.
type Webhook struct {
	WebhookOptions
	client *http.Client
	queue  chan Event
}

// NewWebhook returns a webhook; Run makes it work. The error does not show the URL.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("reconcile { webhook } is no address: write webhook = env(\"WEBHOOK\") with a URL that begins with https://")
	}
	if o.Sent == nil {
		o.Sent = func(string) {}
	}
	client := &http.Client{Transport: o.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Webhook{WebhookOptions: o, client: client, queue: make(chan Event, queued)}, nil
}

// Send queues an event. It never waits.
func (w *Webhook) Send(e Event) {
	select {
	case w.queue <- e:
	default:
		w.Sent("dropped")
		w.Log.Warn("webhook is too slow, an event was dropped", "event", e.Kind, "fleet", e.Fleet, "vm", e.VM)
	}
}

// Run posts what is sent until the context ends, then for at most five seconds what is left.
func (w *Webhook) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case e := <-w.queue:
			w.deliver(ctx, e)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	for {
		select {
		case e := <-w.queue:
			w.deliver(last, e)
		default:
			return
		}
	}
}

// deliver posts one event until it is taken, refused for good, or out of attempts. The end of the context cuts the
// pauses; what is being posted gets its answer.
func (w *Webhook) deliver(ctx context.Context, e Event) {
	body, err := json.Marshal(e)
	again := err == nil
	for i := 0; again; i++ {
		if again, err = w.post(ctx, body); err == nil {
			w.Sent("sent")
			return
		}
		pause := time.Second << i
		pause += time.Duration(w.Rand() * float64(pause))
		again = again && i < attempts-1 && w.Clock.Sleep(ctx, pause) == nil
	}
	w.Sent("failed")
	w.Log.Warn("webhook does not take an event", "event", e.Kind, "fleet", e.Fleet, "vm", e.VM, "error", err)
}

// post sends once. again says whether it may work later.
func (w *Webhook) post(ctx context.Context, body []byte) (again bool, err error) {
	if _, last := ctx.Deadline(); !last {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the request cannot be made") // err shows the URL
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", w.UserAgent)
	resp, err := w.client.Do(req)
	if err != nil {
		return true, discreet(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return false, nil
	}
	again = resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode == http.StatusTooManyRequests
	return again, fmt.Errorf("it answers %s", strconv.Itoa(resp.StatusCode)+" "+http.StatusText(resp.StatusCode))
}

// discreet says what went wrong without the address: errors of net/http show the URL or parts of it.
func discreet(err error) error {
	var timeout net.Error
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("it does not answer in time")
	case errors.As(err, &dns):
		return errors.New("its name is not found")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it refuses the connection")
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &invalid):
		return errors.New("its certificate is not trusted")
	}
	return errors.New("the connection failed")
}
