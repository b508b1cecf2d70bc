package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// host is a Docker host reached by SSH through a port that the lab forwards to loopback.
type host struct {
	name string
	ssh  *ssh.Client
	http *http.Client
}

// dial connects to a host's SSH server, which may still be starting, until ctx ends.
func dial(ctx context.Context, name, addr string, key ssh.Signer) (*host, error) {
	cfg := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: 20 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // the host made its key at this boot, behind our own forward
	for {
		c, err := ssh.Dial("tcp", addr, cfg)
		if err == nil {
			h := &host{name: name, ssh: c}
			h.http = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return c.Dial("unix", "/run/docker.sock")
			}}}
			return h, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ssh to %s: %w", name, err)
		case <-time.After(2 * time.Second):
		}
	}
}

func (h *host) close() { _ = h.ssh.Close() }

// run runs a shell command in the host's root file system and returns what it printed.
func (h *host) run(command string) (string, error) {
	s, err := h.ssh.NewSession()
	if err != nil {
		return "", fmt.Errorf("%s: %w", h.name, err)
	}
	defer func() { _ = s.Close() }()
	out, err := s.CombinedOutput("chroot /proc/1/root /bin/sh -c '" + command + "'")
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s", h.name, command, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// engine calls the Docker Engine API and decodes a JSON answer into v unless v is nil.
func (h *host) engine(ctx context.Context, method, path string, body io.Reader, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := h.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %s %s: %w", h.name, method, path, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s: %s %s: %w", h.name, method, path, err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s: %s %s: %s: %s", h.name, method, path, res.Status, answer)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(answer, v)
}

// info is what the demo compares before and after a roll.
type info struct{ ID, ServerVersion, Driver, DockerRootDir string }

// awaitEngine waits until the Docker Engine answers.
func (h *host) awaitEngine(ctx context.Context) (info, error) {
	for {
		var i info
		err := h.engine(ctx, http.MethodGet, "/info", nil, &i)
		if err == nil {
			return i, nil
		}
		select {
		case <-ctx.Done():
			return i, err
		case <-time.After(2 * time.Second):
		}
	}
}

// importProgram makes a container image out of lkv-guest, under that name: as any other it would be PID 1 of a machine.
func (h *host) importProgram(ctx context.Context, ref, program string) error {
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	if err := tw.WriteHeader(&tar.Header{Name: "lkv-guest", Mode: 0o755, Size: int64(len(b))}); err != nil {
		return err
	}
	if _, err := tw.Write(b); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(ref, ":")
	return h.engine(ctx, http.MethodPost, "/images/create?fromSrc=-&repo="+url.QueryEscape(repo)+"&tag="+tag, &layer, nil)
}

// imageID returns the ID of an image that the engine must have.
func (h *host) imageID(ctx context.Context, ref string) (string, error) {
	var i struct{ ID string }
	err := h.engine(ctx, http.MethodGet, "/images/"+ref+"/json", nil, &i)
	return i.ID, err
}

// runContainer runs a command in a container on the default bridge network and returns its exit code.
func (h *host) runContainer(ctx context.Context, ref string, cmd ...string) (int, error) {
	body, err := json.Marshal(map[string]any{"Image": ref, "Cmd": cmd})
	if err != nil {
		return 0, err
	}
	var c struct{ ID string }
	if err := h.engine(ctx, http.MethodPost, "/containers/create", bytes.NewReader(body), &c); err != nil {
		return 0, err
	}
	if err := h.engine(ctx, http.MethodPost, "/containers/"+c.ID+"/start", nil, nil); err != nil {
		return 0, err
	}
	var w struct{ StatusCode int }
	err = h.engine(ctx, http.MethodPost, "/containers/"+c.ID+"/wait", nil, &w)
	return w.StatusCode, err
}
