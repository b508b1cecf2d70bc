package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/report"
)

// TestRun publishes at once, on a change, after a minute without one, and again after a failure.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o644); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var log strings.Builder
		fail := false
		p := Publisher{File: file, Log: &log, Set: func(key, value string) error {
			if fail {
				return errors.New("no channel")
			}
			got = append(got, key+" "+value)
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(3 * time.Second) // no file yet
		write("one")
		time.Sleep(30 * time.Second)
		write("two")
		time.Sleep(Again + 5*time.Second)
		fail = true
		write("three")
		time.Sleep(3 * time.Second)
		fail = false
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
