//go:build e2e

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the whole story. Its own checks (exit codes of plan, facts before and after, orderly shutdowns) make it
// fail; what is looked at here is that the plan promised what the roll kept.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	var seen bytes.Buffer
	if err := demo(ctx, io.MultiWriter(os.Stdout, &seen)); err != nil {
		t.Fatal(err)
	}
	_, roll, found := strings.Cut(seen.String(), "two hosts are outdated")
	if !found || !strings.Contains(roll, "destructive ops: 0") {
		t.Error("the plan of the roll does not say that nothing destructive happens")
	}
}
