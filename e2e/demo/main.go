// Command demo plays the product's main job once, on real parts: component images, an ISO, a lab of two datacenters
// with three hosts each, a push, a fleet of two Docker hosts, a second ISO, a roll, and the data still there.
//
// `make demo` prepares what it needs: LKV_BIN (directory of lkv and lkv-guest) and LKV_CACHE (component images).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

// demo runs the whole story in a temporary directory.
func demo(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "lkv-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := newStory(dir, os.Getenv("LKV_BIN"), os.Getenv("LKV_CACHE"), out)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.tell(ctx); err != nil {
		s.evidence()
		return err
	}
	s.summary()
	return nil
}
