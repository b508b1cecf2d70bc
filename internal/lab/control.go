package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// controlFile, in the lab's directory, tells other processes where the lab listens for them.
const controlFile = "lab.json"

// controlInfo is the content of controlFile.
type controlInfo struct {
	Socket string            `json:"socket"`
	PID    int               `json:"pid"`
	Env    map[string]string `json:"env"`
}

// control serves Dial's clients on a unix socket that only this user can open.
type control struct {
	server *http.Server
	dir    string // of the socket; short, because a unix socket's path has at most 107 bytes
	file   string
}

func (l *Lab) startControl() (*control, error) {
	dir, err := os.MkdirTemp("", "lkv-lab-") // mode 0700
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "control")
	listener, err := (&net.ListenConfig{}).Listen(l.ctx, "unix", socket)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /vms", func(w http.ResponseWriter, _ *http.Request) { answer(w, l.VMs(), nil) })
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, _ *http.Request) { answer(w, l.Journal(), nil) })
	mux.HandleFunc("POST /forward", l.controlForward)
	mux.HandleFunc("POST /cut", func(w http.ResponseWriter, r *http.Request) { answer(w, nil, l.CutPower(r.FormValue("vm"))) })
	mux.HandleFunc("POST /check", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil, l.Invariants()) })
	c := &control{server: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}, dir: dir, file: filepath.Join(l.cfg.Dir, controlFile)}
	go func() { _ = c.server.Serve(listener) }() // ends with ErrServerClosed
	b, err := json.MarshalIndent(controlInfo{Socket: socket, PID: os.Getpid(), Env: l.Env()}, "", "  ")
	if err == nil {
		err = os.WriteFile(c.file, append(b, '\n'), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *control) close() error {
	return errors.Join(c.server.Close(), os.RemoveAll(c.dir), os.Remove(c.file))
}

func (l *Lab) controlForward(w http.ResponseWriter, r *http.Request) {
	var port int
	if _, err := fmt.Sscan(r.FormValue("port"), &port); err != nil {
		answer(w, nil, fmt.Errorf("port: %w", err))
		return
	}
	addr, err := l.Forward(r.Context(), r.FormValue("vm"), port)
	answer(w, addr, err)
}

// answer writes a value as JSON, or an error as text with status 400.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		deny(w, http.StatusBadRequest, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}

// Client speaks to a lab in another process.
type Client struct {
	info controlInfo
	http *http.Client
}

// Dial finds the lab that runs on a directory.
func Dial(ctx context.Context, dir string) (*Client, error) {
	b, err := os.ReadFile(filepath.Join(dir, controlFile))
	if err != nil {
		return nil, fmt.Errorf("no lab runs in %s; start one with: lkv lab up --dir %s: %w", dir, dir, err)
	}
	c := &Client{}
	if err := json.Unmarshal(b, &c.info); err != nil {
		return nil, fmt.Errorf("read %s: %w", controlFile, err)
	}
	c.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.info.Socket)
	}}}
	if _, err := c.VMs(ctx); err != nil {
		return nil, fmt.Errorf("the lab of %s does not answer; start one with: lkv lab up --dir %s: %w", dir, dir, err)
	}
	return c, nil
}

// Env is the environment with which lkv and govc find the lab.
func (c *Client) Env() map[string]string { return c.info.Env }

// PID is the process id of the lab.
func (c *Client) PID() int { return c.info.PID }

// VMs lists the lab's VMs by name.
func (c *Client) VMs(ctx context.Context) ([]VM, error) {
	var vms []VM
	return vms, c.call(ctx, http.MethodGet, "/vms", nil, &vms)
}

// VM finds one VM by name.
func (c *Client) VM(ctx context.Context, name string) (VM, error) {
	vms, err := c.VMs(ctx)
	if err != nil {
		return VM{}, err
	}
	for _, v := range vms {
		if v.Name == name {
			return v, nil
		}
	}
	return VM{}, fmt.Errorf("no VM %q in the lab", name)
}

// Journal returns the lab's mutating calls.
func (c *Client) Journal(ctx context.Context) ([]Call, error) {
	var calls []Call
	return calls, c.call(ctx, http.MethodGet, "/journal", nil, &calls)
}

// Forward is Lab.Forward.
func (c *Client) Forward(ctx context.Context, vm string, port int) (string, error) {
	var addr string
	return addr, c.call(ctx, http.MethodPost, "/forward", map[string]string{"vm": vm, "port": fmt.Sprint(port)}, &addr)
}

// CutPower is Lab.CutPower.
func (c *Client) CutPower(ctx context.Context, vm string) error {
	return c.call(ctx, http.MethodPost, "/cut", map[string]string{"vm": vm}, nil)
}

// Invariants is Lab.Invariants.
func (c *Client) Invariants(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/check", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, form map[string]string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, nil)
	if err != nil {
		return err
	}
	q := req.URL.Query()
	for k, val := range form {
		q.Set(k, val)
	}
	req.URL.RawQuery = q.Encode()
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(b)))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	return nil
}
