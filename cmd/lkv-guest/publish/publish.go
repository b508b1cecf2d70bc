// Package publish hands the guest's report to the host for as long as the machine runs.
package publish

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lkv-io/lkv/internal/report"
)

// Look is how often the file is compared, Again how often it is published unchanged: a host that lost the variable
// (a restarted vCenter agent, a snapshot revert) has it again within a minute.
const (
	Look  = time.Second
	Again = time.Minute
)

// Publisher publishes File through Set. Log gets one line when publishing begins to fail or works again.
type Publisher struct {
	File string
	Set  func(key, value string) error
	Log  io.Writer
}

// Run publishes until ctx ends.
func (p Publisher) Run(ctx context.Context) error {
	tick := time.NewTicker(Look)
	defer tick.Stop()
	var last string
	var when time.Time
	failing := false
	for {
		now := time.Now()
		data, err := os.ReadFile(p.File)
		if text := string(data); err == nil && (text != last || now.Sub(when) >= Again) {
			err = p.Set(report.Key, text)
			last, when = text, now
			if err != nil {
				last = "" // try again at the next look
			}
			if failing != (err != nil) {
				failing = err != nil
				_, _ = fmt.Fprintf(p.Log, "lkv-guest report: publishing %s\n", outcome(err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func outcome(err error) string {
	if err != nil {
		return "fails: " + err.Error()
	}
	return "works again"
}
