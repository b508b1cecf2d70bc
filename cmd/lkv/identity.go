package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

// identity is a file with a random number, one per spec and cache directory. Whoever holds its lock is the owner of the
// claims made under it: so a run that stopped or died is continued at once by the next one here, while two runs can
// never take each other's claims for their own. It records nothing; when it is lost, claims simply have to expire.
type identity struct {
	f    *os.File
	mine bool // the lock is held
}

var identityRule = regexp.MustCompile(`^[0-9a-f]{16}$`)

// identify opens the identity of a spec and makes it when it is new.
func (s system) identify(c *cli.Context, spec specs.Spec) (*identity, error) {
	dir, err := s.cacheDir(c)
	if err != nil {
		return nil, err
	}
	of, err := s.owner(spec)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "identities", fmt.Sprintf("%x", sha256.Sum256([]byte(of)))[:16])
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	return &identity{f: f}, nil
}

// lock makes this run the owner. Another run here is refused.
func (i *identity) lock() error {
	err := unix.Flock(int(i.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return plan.Blocked{Code: plan.R16, Reason: "another run with this spec is at work on this machine", Clear: "wait until it is done"}
	}
	if err != nil {
		return fmt.Errorf("lock identity: %w", err)
	}
	i.mine = true
	return nil
}

// name returns the owner of claims: the machine, its boot and the random number. A copy of the cache on another machine
// is somebody else. Without the lock a new number is not kept: nobody has claimed anything under it.
func (i *identity) name(s system) (string, error) {
	b := make([]byte, 16)
	n, err := i.f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read identity: %w", err)
	}
	id := string(b[:n])
	if !identityRule.MatchString(id) {
		if id, err = s.nonce(); err != nil {
			return "", err
		}
		if !i.mine {
			return id, nil
		}
		if _, err := i.f.WriteAt([]byte(id), 0); err != nil {
			return "", fmt.Errorf("write identity: %w", err)
		}
	}
	return strings.Trim(s.Host+":"+bootID()+":"+id, ":"), nil
}

func (i *identity) close() error { return i.f.Close() }

// bootID returns the first digits of the kernel's boot identifier, "" where there is none.
func bootID() string {
	b, err := fs.ReadFile(os.DirFS("/proc/sys/kernel/random"), "boot_id")
	if err != nil || len(b) < 8 {
		return ""
	}
	return string(b[:8])
}
