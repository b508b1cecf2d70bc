package qemu

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"time"
)

// Agent speaks to the QEMU guest agent inside the guest. One command runs at a time; each has its own connection,
// because the agent answers late after a guest that was slow, and a late answer must not be taken for the next one.
type Agent struct {
	path string
	mu   *sync.Mutex
}

// Agent returns the client of the machine's guest agent. Whether one runs in the guest shows when it is used.
func (m *Machine) Agent() *Agent { return &Agent{path: filepath.Join(m.sock, "agent"), mu: &m.agentMu} }

// Interface is one network interface as the guest sees it. Addresses are without prefix length.
type Interface struct {
	Name string   `json:"name"`
	MAC  string   `json:"mac"`
	IPv4 []string `json:"ipv4"`
	IPv6 []string `json:"ipv6"`
}

// Ping returns nil when the agent answers.
func (a *Agent) Ping(ctx context.Context) error {
	_, err := a.run(ctx, "guest-ping", nil)
	return err
}

// Interfaces lists the guest's network interfaces (guest-network-get-interfaces).
func (a *Agent) Interfaces(ctx context.Context) ([]Interface, error) {
	raw, err := a.run(ctx, "guest-network-get-interfaces", nil)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Name      string `json:"name"`
		MAC       string `json:"hardware-address"`
		Addresses []struct {
			Type string `json:"ip-address-type"`
			IP   string `json:"ip-address"`
		} `json:"ip-addresses"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("guest agent interfaces: %w", err)
	}
	var out []Interface
	for _, n := range list {
		i := Interface{Name: n.Name, MAC: n.MAC}
		for _, ad := range n.Addresses {
			if ad.Type == "ipv4" {
				i.IPv4 = append(i.IPv4, ad.IP)
			} else {
				i.IPv6 = append(i.IPv6, ad.IP)
			}
		}
		out = append(out, i)
	}
	return out, nil
}

// Hostname returns the guest's host name (guest-get-host-name).
func (a *Agent) Hostname(ctx context.Context) (string, error) {
	raw, err := a.run(ctx, "guest-get-host-name", nil)
	if err != nil {
		return "", err
	}
	var h struct {
		Name string `json:"host-name"`
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return "", fmt.Errorf("guest agent host name: %w", err)
	}
	return h.Name, nil
}

// maxFile bounds what ReadFile returns, in bytes.
const maxFile = 1 << 20

// ReadFile returns the content of a file in the guest, up to 1 MiB (guest-file-open, -read, -close).
func (a *Agent) ReadFile(ctx context.Context, path string) ([]byte, error) {
	raw, err := a.run(ctx, "guest-file-open", map[string]any{"path": path, "mode": "r"})
	if err != nil {
		return nil, err
	}
	var handle int
	if err := json.Unmarshal(raw, &handle); err != nil {
		return nil, fmt.Errorf("guest agent open %s: %w", path, err)
	}
	raw, err = a.run(ctx, "guest-file-read", map[string]any{"handle": handle, "count": maxFile})
	if err != nil {
		return nil, err
	}
	var r struct {
		Buf string `json:"buf-b64"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("guest agent read %s: %w", path, err)
	}
	if _, err := a.run(ctx, "guest-file-close", map[string]any{"handle": handle}); err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(r.Buf)
	if err != nil {
		return nil, fmt.Errorf("guest agent read %s: %w", path, err)
	}
	return b, nil
}

// ExecResult is the outcome of a program run in the guest.
type ExecResult struct {
	Code           int
	Stdout, Stderr string
}

// Exec runs a program in the guest agent's own surroundings and waits for it (guest-exec, guest-exec-status).
// The error is about the agent; a program's failure is ExecResult.Code.
func (a *Agent) Exec(ctx context.Context, path string, args ...string) (ExecResult, error) {
	if args == nil {
		args = []string{}
	}
	raw, err := a.run(ctx, "guest-exec", map[string]any{"path": path, "arg": args, "capture-output": true})
	if err != nil {
		return ExecResult{}, err
	}
	var p struct{ PID int }
	if err := json.Unmarshal(raw, &p); err != nil {
		return ExecResult{}, fmt.Errorf("guest agent exec %s: %w", path, err)
	}
	for {
		res, exited, err := a.execStatus(ctx, p.PID)
		if err != nil || exited {
			return res, err
		}
		select {
		case <-ctx.Done():
			return ExecResult{}, fmt.Errorf("guest agent exec %s: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *Agent) execStatus(ctx context.Context, pid int) (ExecResult, bool, error) {
	raw, err := a.run(ctx, "guest-exec-status", map[string]any{"pid": pid})
	if err != nil {
		return ExecResult{}, false, err
	}
	var s struct {
		Exited   bool   `json:"exited"`
		ExitCode int    `json:"exitcode"`
		Signal   int    `json:"signal"`
		Out      []byte `json:"out-data"` // JSON base64, as encoding/json decodes []byte
		Err      []byte `json:"err-data"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return ExecResult{}, false, fmt.Errorf("guest agent exec status: %w", err)
	}
	if s.Signal != 0 {
		s.ExitCode = 128 + s.Signal
	}
	return ExecResult{Code: s.ExitCode, Stdout: string(s.Out), Stderr: string(s.Err)}, s.Exited, nil
}

// agentTimeout bounds one agent command when ctx has no earlier deadline. A guest under TCG can be slow.
const agentTimeout = 30 * time.Second

func (a *Agent) run(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.path)
	if err != nil {
		return nil, fmt.Errorf("guest agent %s: %w", command, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r := bufio.NewReader(conn)
	if err := resync(conn, r); err != nil {
		return nil, fmt.Errorf("guest agent %s: %w", command, err)
	}
	res, err := call(conn, r, command, arguments)
	if err != nil {
		return nil, fmt.Errorf("guest agent %s: %w", command, err)
	}
	return res, nil
}

// resync throws away whatever an earlier client left in the line: it sends a 0xFF byte, which resets the agent's
// parser, and an id, and reads until that id comes back (guest-sync-delimited).
func resync(conn net.Conn, r *bufio.Reader) error {
	id := rand.Int64N(1 << 31)
	if _, err := fmt.Fprintf(conn, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%d}}\n", id); err != nil {
		return err
	}
	for {
		if _, err := r.ReadBytes(0xff); err != nil {
			return err
		}
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		var reply struct {
			Return int64 `json:"return"`
		}
		if json.Unmarshal(line, &reply) == nil && reply.Return == id {
			return nil
		}
	}
}
