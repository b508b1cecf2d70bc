package prove

import (
	"context"
	"regexp"

	"github.com/lkv-io/lkv/internal/qemu"
)

// Machine is what a proof needs of a running VM; the methods are those of qemu.Machine.
type Machine interface {
	WaitSerial(ctx context.Context, re *regexp.Regexp, from int) (match string, end int, err error)
	Serial() string // path of the console's log
	Powerdown(ctx context.Context) error
	Screenshot(ctx context.Context, path string) error
	ReadFile(ctx context.Context, path string) ([]byte, error) // through the guest agent
	Done() <-chan struct{}
	Err() error // valid after Done
	Kill()      // cuts the power; harmless when it is off
}

// Start starts a VM.
type Start func(ctx context.Context, c qemu.Config) (Machine, error)

// QEMU is the Start of real VMs.
func QEMU(ctx context.Context, c qemu.Config) (Machine, error) {
	m, err := qemu.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return real{m}, nil
}

// real is a QEMU machine with its guest agent at hand.
type real struct{ *qemu.Machine }

func (r real) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return r.Agent().ReadFile(ctx, path)
}
