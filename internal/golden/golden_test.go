package golden

import (
	"os"
	"path/filepath"
	"testing"
)

// recorder notes whether a check failed instead of failing the test.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.golden")
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]bool{"one\ntwo\n": false, "one\n2\n": true, "one\ntwo": true} {
		r := &recorder{TB: t}
		if Check(r, path, got); r.failed != want {
			t.Errorf("%q: failed %v, want %v", got, r.failed, want)
		}
	}
}
