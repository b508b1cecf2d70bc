package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/report"
)

// TestRun publishes at once, on a change, after a minute without one, and again after a failure.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	write := func(s string) { // whole or not at all, as the guest writes it
		if err := errors.Join(os.WriteFile(file+".next", []byte(s), 0o644), os.Rename(file+".next", file)); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var log strings.Builder
		var fail atomic.Bool
		p := Publisher{File: file, Log: &log, Set: func(key, value string) error {
			if fail.Load() {
				return errors.New("no channel")
			}
			got = append(got, key+" "+value)
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(Look/2 + 3*time.Second) // no file yet; from here on never at the moment of a look
		write("one")
		time.Sleep(30 * time.Second)
		write("two")
		time.Sleep(Again + 5*time.Second)
		fail.Store(true)
		write("three")
		time.Sleep(3 * time.Second)
		fail.Store(false)
		time.Sleep(3 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		k := report.Key + " "
		if d := cmp.Diff([]string{k + "one", k + "two", k + "two", k + "three"}, got); d != "" {
			t.Error(d)
		}
		want := "lkv-guest report: publishing fails: no channel\nlkv-guest report: publishing works again\n"
		if d := cmp.Diff(want, log.String()); d != "" {
			t.Error(d)
		}
	})
}
