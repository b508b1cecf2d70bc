package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serve listens and answers until stop is called.
func (o Options) serve(ctx context.Context) (stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Listen, err)
	}
	o.Log.Info("listening", "address", l.Addr().String())
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		o.Log.Warn("everybody who reaches this address can read metrics and names of fleets; there is no password", "address", l.Addr().String())
	}
	srv := &http.Server{
		Handler: o.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: nil,
	}
	go func() { _ = srv.Serve(l) }() // it ends with ErrServerClosed; a broken listener shows as a missing target
	return func() { _ = srv.Close() }, nil
}

// handler answers /healthz, /readyz and /metrics, and nothing else.
func (o Options) handler() http.Handler {
	answer := func(judge func(time.Time) error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			text := "ok\n"
			if err := judge(o.Clock.Now()); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				text = err.Error() + "\n"
			}
			_, _ = io.WriteString(w, text) // whoever asked is gone
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", answer(o.Monitor.Alive))
	mux.Handle("GET /readyz", answer(func(now time.Time) error { return o.Monitor.Ready(now, fresh*o.Interval()) }))
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Monitor.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}
