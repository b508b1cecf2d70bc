package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lkv-io/lkv/internal/report"
	"golang.org/x/sys/unix"
)

// nonces are what a host may have written: nothing that could be anything else on a console or in a file.
var nonces = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

// Prove leaves nonce (1 to 64 hex digits) at the top of the disk mounted on mount, in the file report.ProveFile, and
// returns the line that says so, with the nonce of an earlier boot or "-". Nothing is written unless nonce is one.
func Prove(mount, nonce string) string {
	found, err := exchange(mount, nonce)
	if err != nil {
		return fmt.Sprintf("lkv: prove %s error: %s", mount, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return fmt.Sprintf("lkv: prove %s found=%s wrote=%s", mount, found, nonce)
}

func exchange(mount, nonce string) (found string, err error) {
	if !nonces.MatchString(nonce) {
		return "", fmt.Errorf("%s is not 1 to 64 lower-case hex digits", report.ProveKey)
	}
	file := filepath.Join(mount, report.ProveFile)
	if found, err = left(file); err != nil {
		return "", fmt.Errorf("read what an earlier boot left: %w", err)
	}
	if err := leave(file, nonce); err != nil {
		return "", fmt.Errorf("write nonce: %w", err)
	}
	return found, nil
}

// left is the nonce in the file, "-" when there is no file. Whatever else lies under that name is neither followed nor
// waited for: containers can write there.
func left(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "-", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", errors.Join(err, errors.New("it is not a file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, 65))
	if err != nil {
		return "", err
	}
	if !nonces.Match(data) {
		return "", errors.New("it is not a nonce")
	}
	return string(data), nil
}

// leave replaces the file in one step and returns when it would survive a power cut.
func leave(file, nonce string) error {
	next := file + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(nonce)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
