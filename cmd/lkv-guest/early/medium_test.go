package early

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lkv-io/lkv/internal/rootdesc"
	"golang.org/x/sys/unix"
)

// drive is one device: there from a time on, with a volume ID and a squashfs, or an error instead.
type drive struct {
	name, id, content string
	after             time.Duration
	err               error
}

// rack is a machine's devices. It counts how often a squashfs was read.
type rack struct {
	t      *testing.T
	start  time.Time
	drives []drive
	reads  map[string]int
}

func (r *rack) Names() []string {
	var out []string
	for _, d := range r.drives {
		if time.Since(r.start) >= d.after {
			out = append(out, d.name)
		}
	}
	return out
}

func (r *rack) of(name string) drive {
	for _, d := range r.drives {
		if d.name == name {
			return d
		}
	}
	r.t.Fatalf("nobody has %s", name)
	return drive{}
}

func (r *rack) Volume(name string) (string, error) { return r.of(name).id, r.of(name).err }

func (r *rack) Open(name string, want rootdesc.Root) (*os.File, error) {
	r.reads[name]++
	path := filepath.Join(r.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(r.of(name).content), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return openChecked(path, want)
}

// wanted describes the content "right".
func wanted() rootdesc.Root {
	return rootdesc.Root{Mode: rootdesc.ModeCD, Volume: "LKV", Size: 5, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("right")))}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name   string
		drives []drive
		found  string
		says   []string
		took   time.Duration
	}{
		{name: "at once", drives: []drive{{name: "sr0", id: "LKV", content: "right"}}, found: "sr0", says: []string{"root file system found on sr0"}},
		{
			name: "slow USB behind a blank disk", found: "sdb", took: 3 * time.Second,
			drives: []drive{{name: "sda", err: errNoVolume}, {name: "sdb", id: "LKV", content: "right", after: 3 * time.Second}},
			says:   []string{"root file system found on sdb"},
		},
		{
			name: "second drive", found: "sr1",
			drives: []drive{{name: "sr0", id: "LKV", content: "wrong"}, {name: "sr1", id: "LKV", content: "right"}},
			says:   []string{"sr0 has the right volume ID but another image: lkv/root.squashfs: sha256 ", "root file system found on sr1"},
		},
		{
			name: "none", took: patience,
			drives: []drive{
				{name: "sr0", err: errors.New("no medium")}, {name: "sr1", id: "LKV", content: "other image"},
				{name: "sda", err: unix.EIO}, {name: "sdb", id: "DEBIAN"},
			},
			says: append([]string{"sr1 has the right volume ID but another image: lkv/root.squashfs: 11 bytes instead of 5"}, waiting...),
		},
		{name: "nothing", took: patience, says: waiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				r := &rack{t: t, start: start, drives: c.drives, reads: map[string]int{}}
				var said []string
				s := search{want: wanted(), media: r, say: func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) }}
				f, err := s.find()
				if took := time.Since(start); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if d := cmp.Diff(c.says, said, cmp.Comparer(func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) })); d != "" {
					t.Error(d)
				}
				for name, n := range r.reads {
					if n != 1 {
						t.Errorf("%s was read %d times", name, n)
					}
				}
				checkFound(t, f, err, c.found, c.drives)
			})
		})
	}
}

var waiting = []string{"waiting for ", "waiting for ", "waiting for ", "waiting for ", "waiting for "}

// checkFound: a found one is open; else the error says what every drive has.
func checkFound(t *testing.T, f *os.File, err error, found string, drives []drive) {
	t.Helper()
	if found != "" {
		if err != nil || filepath.Base(f.Name()) != found {
			t.Errorf("%v, want %s", err, found)
		}
		return
	}
	if err == nil {
		t.Fatalf("found %s", f.Name())
	}
	want := []string{`volume ID "LKV"`, "lkv/root.squashfs", "30s", "attach the image's ISO"}
	if len(drives) == 0 {
		want = append(want, "seen: no disk and no CD-ROM drive")
	}
	for _, d := range drives {
		want = append(want, d.name+" (")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestCandidates(t *testing.T) {
	got := candidates([]string{"vda", "sr1", "loop0", "sda1", "dm-0", "nvme0n1", "sr0", "sda", "fd0", "ram0"})
	if d := cmp.Diff([]string{"sr0", "sr1", "sda", "sda1", "vda", "nvme0n1"}, got); d != "" {
		t.Error(d)
	}
}
