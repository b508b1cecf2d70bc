package early

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestLoadAll: every module is tried, in order, whatever became of the others, and every failure is said.
func TestLoadAll(t *testing.T) {
	fails := map[string]error{"/m/b.ko": unix.ENOEXEC, "/m/d.ko": unix.ENOENT}
	var tried, said []string
	loadAll([]string{"/m/c.ko", "/m/b.ko", "/m/d.ko", "/m/a.ko"},
		func(p string) error { tried = append(tried, p); return fails[p] },
		func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) })
	if d := cmp.Diff([]string{"/m/c.ko", "/m/b.ko", "/m/d.ko", "/m/a.ko"}, tried); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"load b.ko: exec format error", "load d.ko: no such file or directory"}, said); d != "" {
		t.Error(d)
	}
}

// TestVerdict is about what the kernel answers.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		path string
		err  error
		says string
	}{
		{"a.ko", nil, ""}, {"a.ko", unix.EEXIST, ""}, {"a.ko", unix.ENODEV, ""}, {"a.ko.xz", unix.EEXIST, ""},
		{"a.ko", unix.EKEYREJECTED, "key was rejected"}, {"a.ko", unix.EINVAL, "invalid argument"},
		{"a.ko.zst", unix.EOPNOTSUPP, "should have them uncompressed"}, {"a.ko.xz", unix.EINVAL, "should have them uncompressed"},
	} {
		err := verdict(c.path, c.err)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s, %v: %v", c.path, c.err, err)
		}
	}
}

func TestLoadMissing(t *testing.T) {
	if err := load(t.TempDir() + "/gone.ko"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	if _, err := describe(dir + "/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte(`{"mode":"nfs"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := describe(bad); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `unknown mode "nfs"`) {
		t.Error(err)
	}
}

// TestOpenChecked: only the whole right file opens.
func TestOpenChecked(t *testing.T) {
	for name, content := range map[string]string{"right": "right", "short": "righ", "long": "right!", "changed": "rigHt"} {
		path := filepath.Join(t.TempDir(), "root.squashfs")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := openChecked(path, wanted())
		if (name == "right") != (err == nil) || err != nil && !errors.Is(err, errOther) {
			t.Errorf("%s: %v", name, err)
		}
		if f != nil {
			_ = f.Close()
		}
	}
	if _, err := openChecked(t.TempDir()+"/gone", wanted()); !errors.Is(err, errOther) {
		t.Error(err)
	}
}
