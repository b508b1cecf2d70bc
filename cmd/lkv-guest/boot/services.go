package boot

import (
	"context"
	"path/filepath"
	"time"

	"github.com/lkv-io/lkv/cmd/lkv-guest/container"
	"github.com/lkv-io/lkv/cmd/lkv-guest/proc"
)

// Waiting between restarts of a service that ends: doubled from the first to the last; a run that lasts healthy
// begins anew. Ended quickly and always, a service costs one start a minute.
const (
	backoffFirst = time.Second
	backoffLast  = time.Minute
	healthy      = time.Minute
)

// next is the wait after a run that lasted ran, when the last wait was before.
func next(before, ran time.Duration) time.Duration {
	if before == 0 || ran >= healthy {
		return backoffFirst
	}
	return min(2*before, backoffLast)
}

// service is one supervised container.
type service struct {
	bundle container.Bundle
	cancel context.CancelFunc
	done   chan struct{}
}

// startServices starts every service of the image, or only those that always run.
func (m *machine) startServices(onlyAlways bool) {
	for _, dir := range bundles(filepath.Join(m.containers, "services")) {
		b, err := container.Load(dir)
		if err == nil && onlyAlways && !b.Always() {
			continue
		}
		if err == nil {
			err = b.Prepare()
		}
		if err != nil {
			m.console.Say("service %s is not started: %v", filepath.Base(dir), err)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		s := &service{bundle: b, cancel: cancel, done: make(chan struct{})}
		m.services = append(m.services, s)
		go func() {
			defer close(s.done)
			m.supervise(ctx, b)
		}()
	}
}

// stopServices stops them in reverse order, each with its grace.
func (m *machine) stopServices() {
	for i := len(m.services) - 1; i >= 0; i-- {
		m.services[i].cancel()
		<-m.services[i].done
	}
	m.services = nil
}

// supervise keeps the container running until ctx ends, then stops it.
func (m *machine) supervise(ctx context.Context, b container.Bundle) {
	var wait time.Duration
	for restarts := 0; ; restarts++ {
		began := time.Now()
		why := m.runService(ctx, b, restarts)
		if ctx.Err() != nil {
			m.note(b.Name, "stopped", restarts)
			return
		}
		wait = next(wait, time.Since(began))
		m.console.Say("service %s: %s; starting again in %s", b.Name, why, wait)
		m.note(b.Name, "backoff", restarts)
		select {
		case <-ctx.Done():
			m.note(b.Name, "stopped", restarts)
			return
		case <-time.After(wait):
		}
	}
}

// runService runs the container once and says why it ended.
func (m *machine) runService(ctx context.Context, b container.Bundle, restarts int) string {
	out, err := m.output("service", b.Name, m.debug)
	if err != nil {
		return err.Error()
	}
	// Not ctx: a start that is cut short leaves a container half made. It is bounded by itself.
	c, err := m.runc.Start(context.Background(), b, out.W)
	_ = out.W.Close()
	if err != nil {
		return err.Error() + words(out)
	}
	m.note(b.Name, "running", restarts)
	return m.await(ctx, b, c, out)
}

func (m *machine) await(ctx context.Context, b container.Bundle, c *proc.Child, out *capture) string {
	select {
	case <-c.Done():
	case <-ctx.Done():
		m.runc.Stop(b, c, b.Grace())
		return "stopped"
	}
	if err := c.Err(); err != nil {
		return "ended with " + err.Error() + words(out)
	}
	return "ended"
}

func (m *machine) note(name, what string, restarts int) {
	if err := m.state.service(name, what, restarts); err != nil {
		m.console.Say("%v", err)
	}
}
