package push

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// vault is a store that cannot read what has a temporary name.
type vault struct {
	*center
	full  bool   // Put finds the ISO there, as when another push was faster
	rot   bool   // Move damages what it moves
	keeps string // why nothing is removed
}

func (v vault) SealsTemporary() bool { return true }
func (v vault) Keeps() string        { return v.keeps }

func (v vault) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	if IsTemporary(p) {
		return nil, errors.New("sealed")
	}
	return v.center.Open(ctx, p)
}

func (v vault) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	if v.full && strings.Contains(p, ".iso.") {
		b, err := io.ReadAll(r)
		final, _, _ := strings.Cut(p, partMark)
		v.files[final] = b
		return errors.Join(err, fs.ErrExist)
	}
	return v.center.Put(ctx, p, r, size)
}

func (v vault) Move(ctx context.Context, from, to string, overwrite bool) error {
	err := v.center.Move(ctx, from, to, overwrite)
	if v.rot && strings.HasSuffix(to, ".iso") {
		v.files[to] = slices.Repeat([]byte{'x'}, len(v.files[to]))
	}
	return err
}

func TestSealedStoreIsReadBackAfterTheMove(t *testing.T) {
	c := behind("a", "a1")[0]
	in, sum := build(t, "iso", vault{center: c})
	in.Verify = Full
	got, err := Push(t.Context(), in)
	if err != nil || got[0].How != Uploaded || got[0].Verified != Full {
		t.Fatalf("%+v %v", got, err)
	}
	if ch, err := ReadChannel(t.Context(), c, "worker", "latest"); err != nil || ch.Digest != sum {
		t.Errorf("%+v %v", ch, err)
	}

	in, sum = build(t, "rotten", vault{center: c, rot: true})
	in.Verify = Full
	if _, err := Push(t.Context(), in); !errors.Is(err, errDiffers) {
		t.Error(err)
	}
	if ch, err := ReadChannel(t.Context(), c, "worker", "latest"); err != nil || ch.Digest == sum {
		t.Errorf("the channel moved to a damaged ISO: %+v %v", ch, err)
	}
}

func TestSomebodyElseWasFasterThanAnUpload(t *testing.T) {
	in, _ := build(t, "iso", vault{center: behind("a", "a1")[0], full: true})
	got, err := Push(t.Context(), in)
	if err != nil || got[0].How != Already {
		t.Errorf("%+v %v", got, err)
	}
}

func TestCleanLeavesAKeeperAlone(t *testing.T) {
	list := behind("a", "a1")
	sums := pushed(t, []string{"v0", "v1"}, list...)
	forget(t, list...)
	clean := cleaning()
	clean.Stores = []Store{vault{center: list[0], keeps: "it is published"}}
	removed, kept, err := Clean(t.Context(), clean)
	if err != nil || len(removed) > 0 || !list[0].has(sums[0]) {
		t.Errorf("%v %v", removed, err)
	}
	if i := slices.IndexFunc(kept, func(f Found) bool { return f.SHA256 == sums[0] }); i < 0 || kept[i].Why != "it is published" {
		t.Errorf("%+v", kept)
	}
}
