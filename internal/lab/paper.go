package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Behaviour is how a paper guest behaves during one boot. The zero value is a guest that works.
type Behaviour struct {
	BootDelay        time.Duration // from power on to the report; default: Paper.BootDelay
	ShutdownDelay    time.Duration // from the power button to off
	IP               string        // default: the address of the first network card
	NeverReady       bool          // tools answer, but no report comes
	NoTools          bool          // tools do not answer; implies NeverReady
	FailMount        bool          // the report says that no data disk was mounted
	StaleToken       bool          // the report echoes no token
	IgnoreShutdown   bool          // the power button does nothing
	RebootOnShutdown bool          // the power button restarts the guest
	OffAfter         time.Duration // the guest powers itself off after that time; 0: it does not
}

// Paper is a driver whose machines only keep state: they read the manifest beside their ISO, "format" blank disks by
// writing a pattern, and publish the report that a real guest would. A paper VM boots in BootDelay.
type Paper struct {
	BootDelay time.Duration
	// Behave says how a VM behaves in its nth boot (from 1); nil: every boot works. It must not call the lab.
	Behave func(vm string, boot int) Behaviour
}

// paperMachine is one power-on of a paper VM.
type paperMachine struct {
	b       Boot
	how     Behaviour
	publish func(Guest)
	done    chan struct{}
	stop    sync.Once
	reset   chan struct{}
	button  chan struct{}
	exited  chan struct{}
}

// Boot starts a paper machine.
func (p Paper) Boot(_ context.Context, b Boot, publish func(Guest)) (Machine, error) {
	var how Behaviour
	if p.Behave != nil {
		how = p.Behave(b.VM, b.Count)
	}
	if how.BootDelay == 0 {
		how.BootDelay = p.BootDelay
	}
	if how.IP == "" && len(b.NICs) > 0 {
		how.IP = b.NICs[0].IP
	}
	m := &paperMachine{b: b, how: how, publish: publish, done: make(chan struct{}), exited: make(chan struct{}),
		reset: make(chan struct{}, 1), button: make(chan struct{}, 1)}
	go m.live()
	return m, nil
}

// live is the guest: it boots, says so, and waits for what happens to it.
func (m *paperMachine) live() {
	defer close(m.exited)
	var off <-chan time.Time
	if m.how.OffAfter > 0 {
		off = time.After(m.how.OffAfter)
	}
	booted := time.After(m.how.BootDelay)
	for {
		select {
		case <-m.done:
			return
		case <-booted:
			m.ready()
		case <-m.reset:
			booted = time.After(m.how.BootDelay)
		case <-off:
			m.end()
			return
		case <-m.button:
			switch {
			case m.how.IgnoreShutdown:
			case m.how.RebootOnShutdown:
				m.publish(Guest{})
				booted = time.After(m.how.BootDelay)
			default:
				off = time.After(m.how.ShutdownDelay)
			}
		}
	}
}

func (m *paperMachine) end() { m.stop.Do(func() { close(m.done) }) }

// ready publishes what a booted guest says.
func (m *paperMachine) ready() {
	if why := m.untrusted(); why != "" {
		m.log("Security Violation: %s", why)
		return
	}
	m.log("booted from %s", filepath.Base(m.b.ISO))
	if m.how.NoTools {
		return
	}
	g := Guest{Tools: true, IP: m.how.IP, Hostname: m.b.VM}
	if !m.how.NeverReady {
		g.Report = m.report()
	}
	m.publish(g)
}

func (m *paperMachine) log(format string, args ...any) {
	f, err := os.OpenFile(m.Serial(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return // the log is for people; the guest goes on without it
	}
	defer func() { _ = f.Close() }()
	fmt.Fprintf(f, format+"\n", args...)
}

func (m *paperMachine) Serial() string        { return filepath.Join(m.b.Dir, "serial.log") }
func (m *paperMachine) Done() <-chan struct{} { return m.done }

func (m *paperMachine) Shutdown(context.Context) error { return press(m.button) }
func (m *paperMachine) Reset(context.Context) error    { return press(m.reset) }

// press presses a button; pressing it again before it is noticed changes nothing.
func press(button chan struct{}) error {
	select {
	case button <- struct{}{}:
	default:
	}
	return nil
}

// Kill cuts the power and waits until the guest writes no more.
func (m *paperMachine) Kill() {
	m.end()
	<-m.exited
}
