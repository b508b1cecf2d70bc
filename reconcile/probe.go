package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Checks are the ready checks that are made from outside. Empty ones are not made. "{ip}" and "{vm}" stand for the
// VM's address and name in every text.
type Checks struct {
	TCP     string        // port, or "host:port": connecting is enough
	HTTP    string        // URL: a status below 400 is good; redirects are not followed
	Command []string      // program and arguments, exit 0 is good; see hook.Subject for what it is told
	Env     []string      // environment of the command
	Dir     string        // working directory of the command; empty: the current one
	Timeout time.Duration // of each check; default 5s
}

// Any tells whether there is a check at all.
func (c Checks) Any() bool { return c.TCP != "" || c.HTTP != "" || len(c.Command) > 0 }

// Probe makes the checks, one after the other. A VM without an address fails those that need one.
func (c Checks) Probe(ctx context.Context, _ plan.WantVM, vm plan.VM) []plan.Probe {
	var out []plan.Probe
	one := func(name, text string, do func(context.Context) error) {
		p := plan.Probe{Name: name}
		if vm.Guest.IP == "" && strings.Contains(text, "{ip}") {
			p.Why = "the VM has no address yet"
		} else {
			limited, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, 5*time.Second))
			defer cancel()
			if err := do(limited); err != nil {
				p.Why = err.Error()
			}
		}
		p.OK = p.Why == ""
		out = append(out, p)
	}
	fill := strings.NewReplacer("{ip}", vm.Guest.IP, "{vm}", vm.Name)
	if c.TCP != "" {
		addr := c.TCP
		if !strings.Contains(addr, ":") {
			addr = "{ip}:" + addr
		}
		one("tcp "+c.TCP, addr, func(ctx context.Context) error { return dial(ctx, fill.Replace(addr)) })
	}
	if c.HTTP != "" {
		one("http", c.HTTP, func(ctx context.Context) error { return get(ctx, fill.Replace(c.HTTP)) })
	}
	if len(c.Command) > 0 {
		one("command "+c.Command[0], strings.Join(c.Command, " "), func(ctx context.Context) error { return c.command(ctx, fill, vm) })
	}
	return out
}

func dial(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return conn.Close()
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

func (c Checks) command(ctx context.Context, fill *strings.Replacer, vm plan.VM) error {
	args := make([]string, len(c.Command))
	for i, a := range c.Command {
		args[i] = fill.Replace(a)
	}
	subject := hook.Subject{Phase: hook.Check, VM: vm.Name, Fleet: vm.Fleet, Ordinal: vm.Ordinal, IP: vm.Guest.IP, Image: vm.Record.Image}
	_, err := hook.Command{Argv: args, Dir: c.Dir, Env: c.Env}.Run(ctx, subject.Env()...)
	return err
}
