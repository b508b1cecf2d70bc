package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// qmpTimeout bounds one control command: QEMU answers at once or not at all.
const qmpTimeout = 10 * time.Second

// message is one line from QEMU: a greeting, an event, a result or an error (QEMU machine protocol).
type message struct {
	Return json.RawMessage `json:"return"`
	Event  string          `json:"event"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// qmp runs one control command on a connection of its own.
func (m *Machine) qmp(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.sock, "qmp"))
	if err != nil {
		return nil, fmt.Errorf("QEMU %s: %w", command, err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("QEMU %s: %w", command, err)
	}
	r := bufio.NewReader(conn)
	if _, err := r.ReadBytes('\n'); err != nil { // greeting
		return nil, fmt.Errorf("QEMU %s: read greeting: %w", command, err)
	}
	if _, err := call(conn, r, "qmp_capabilities", nil); err != nil {
		return nil, fmt.Errorf("QEMU %s: %w", command, err)
	}
	res, err := call(conn, r, command, arguments)
	if err != nil {
		return nil, fmt.Errorf("QEMU %s: %w", command, err)
	}
	return res, nil
}

// call sends one command and returns its result, passing over events.
func call(conn net.Conn, r *bufio.Reader, command string, arguments map[string]any) (json.RawMessage, error) {
	req := map[string]any{"execute": command}
	if arguments != nil {
		req["arguments"] = arguments
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(b, '\n')); err != nil {
		return nil, err
	}
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		var msg message
		if err := json.Unmarshal(line, &msg); err != nil {
			return nil, fmt.Errorf("decode %q: %w", line, err)
		}
		switch {
		case msg.Error != nil:
			return nil, fmt.Errorf("%s: %s", msg.Error.Class, msg.Error.Desc)
		case msg.Return != nil:
			return msg.Return, nil
		}
	}
}
