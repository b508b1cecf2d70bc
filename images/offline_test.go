package images

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const (
	offlineCache = "LKV_TEST_OFFLINE_CACHE"
	offlineRef   = "LKV_TEST_OFFLINE_REF"
)

// TestInsideNoNetwork is no test of its own: TestOffline runs it where there is no network.
func TestInsideNoNetwork(t *testing.T) {
	dir, ref := os.Getenv(offlineCache), os.Getenv(offlineRef)
	if dir == "" {
		return // only of use to TestOffline
	}
	ctx := context.Background()
	host, _, _ := strings.Cut(ref, "/")
	if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", host); err == nil {
		c.Close()
		t.Fatal("there is a network here: this test proves nothing")
	}
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	online := &Source{Cache: c, Platform: amd64, Insecure: []string{host}, wait: 1}
	if _, _, err := online.Image(ctx, host+"/no/such:1"); err == nil || errors.Is(err, ErrOffline) {
		t.Errorf("not offline: %v", err)
	}
	k := newSigner(t, "ecdsa")
	for _, s := range []*Source{
		{Cache: c, Platform: amd64, Offline: true},
		{Cache: c, Platform: amd64, Offline: true, Transport: refuse{t}},
	} {
		_, h, err := s.Image(ctx, ref)
		if err != nil {
			t.Fatalf("a cached image: %v", err)
		}
		if _, err := s.Attestations(ctx, ref, h); err != nil {
			t.Error(err)
		}
		lock, _, err := s.Update(ctx, []string{ref}, always)
		if err != nil {
			t.Error(err)
		}
		s.Lock, s.Locked = lock, true
		if _, _, err := s.Image(ctx, ref); err != nil {
			t.Errorf("locked: %v", err)
		}
		s.Lock, s.Locked = Lock{}, false
		if _, _, err := s.Image(ctx, host+"/no/such:1"); !errors.Is(err, ErrOffline) {
			t.Errorf("not in the cache: %v", err)
		}
		if _, _, err := s.Push(ctx, ref, host+"/copy:1"); !errors.Is(err, ErrOffline) {
			t.Errorf("push: %v", err)
		}
		s.Rules = []Rule{{Pattern: "*", Mirrors: []string{host}, Keys: []Key{k.Key}}}
		if _, _, err := s.Image(ctx, ref); !errors.Is(err, ErrUnsigned) || !errors.Is(err, ErrOffline) {
			t.Errorf("a signature that is not in the cache: %v", err)
		}
	}
}

// TestOffline: with the network taken away everything offline still works, and nothing waits for a network.
func TestOffline(t *testing.T) {
	h := newHub(t)
	idx, _, _ := multi(t)
	ref := h.push("a:1", idx)
	c := newCache(t)
	if _, _, err := h.source(c).Image(context.Background(), ref); err != nil {
		t.Fatal(err)
	}
	args := []string{"--net", os.Args[0], "-test.run=^TestInsideNoNetwork$", "-test.v"}
	if os.Getuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), offlineCache+"="+c.Dir(), offlineRef+"="+ref)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInsideNoNetwork") {
		t.Errorf("%v\n%s", err, out)
	}
}
