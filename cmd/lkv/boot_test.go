package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Keys pass until the escape key; what was typed before it still reaches the guest, what follows does not.
func TestEscapeKeyEndsTheConsole(t *testing.T) {
	cut := make(chan struct{})
	got, err := io.ReadAll(&escape{r: strings.NewReader("ls\n\x03\x1dmore\x1d"), cut: cut})
	if err != nil || string(got) != "ls\n\x03" {
		t.Errorf("%q, %v", got, err)
	}
	select {
	case <-cut:
	default:
		t.Error("the power was not cut")
	}
}

func TestEndOfInputCutsNothing(t *testing.T) {
	cut := make(chan struct{})
	if _, err := io.ReadAll(&escape{r: strings.NewReader("ls\n"), cut: cut}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-cut:
		t.Error("the power was cut")
	default:
	}
}

// A disk that is missing is made, sparse; one that is there keeps its bytes.
func TestMakeDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.raw")
	if err := makeDisk(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 1<<30 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeDisk(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
	if err := makeDisk(filepath.Join(path, "none", "d.raw"), 1); err == nil {
		t.Error("a disk below a file was made")
	}
}

func TestSuggestions(t *testing.T) {
	known := []string{"lint", "lock", "init", "v"}
	for word, want := range map[string]string{"lintt": ", did you mean lint?", "lok": ", did you mean lock?", "x": "", "reconcile": "", "": ""} {
		if got := suggestion(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
