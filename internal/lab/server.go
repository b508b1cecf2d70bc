package lab

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"

	"github.com/vmware/govmomi/vim25"
)

// serve starts the HTTPS server: the gate in front of the simulator's own handlers.
func (l *Lab) serve(listener net.Listener) error {
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if l.tls, err = newIdentity(l.cfg.Dir, host); err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	s := l.model.Service
	l.url = url.URL{Scheme: "https", Host: net.JoinHostPort(host, port), Path: vim25.Path}
	login := l.url
	login.User = url.UserPassword(l.cfg.Username, l.cfg.Password)
	s.Listen = &login
	reg := l.model.Map()
	reg.SessionManager().ServiceHostName = l.url.Host
	s.RegisterSDK(reg, reg.Path+"/vimService")

	mux := http.NewServeMux()
	mux.HandleFunc(reg.Path, l.serveSDK)
	mux.HandleFunc(reg.Path+"/vimService", l.serveSDK)
	mux.HandleFunc(reg.Path+"/vimServiceVersions.xml", s.ServiceVersions)
	mux.HandleFunc("/folder/", l.serveFolder)
	mux.HandleFunc("/about", s.About)
	l.server = &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), //nolint:gosec // loopback, and a big ISO takes long
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{l.tls.cert}, MinVersion: tls.VersionTLS12}}
	go func() { _ = l.server.ServeTLS(listener, "", "") }() // ends with ErrServerClosed
	return nil
}

// deny answers with a status and a sentence, as vCenter's file server does.
func deny(w http.ResponseWriter, status int, format string, args ...any) {
	http.Error(w, fmt.Sprintf(format, args...), status)
}
