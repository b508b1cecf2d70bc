package push

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// What is verified is what the result says, and each level finds what it can.
func TestVerifyLevels(t *testing.T) {
	const size = 4 << 20
	content := noise(size)
	for _, c := range []struct {
		level  string
		plain  bool // the store reads no ranges
		fresh  string
		again  string
		damage bool // a store that writes wrong bytes is found out
	}{
		{Full, false, Full, Full, true}, {Sample, false, Sample, Sample, true}, {"", false, Sample, Sample, true},
		{Size, false, Size, Size, false}, {Sample, true, Full, Size, true},
	} {
		center := behind("a", "a1")[0]
		var s Store = center
		if c.plain {
			s = center.memory
		}
		in, sum := build(t, content, s)
		in.Verify = c.level
		got, err := Push(t.Context(), in)
		if err != nil || got[0].Verified != c.fresh {
			t.Errorf("%+v: %v %+v", c, err, got)
		}
		if read := center.ranges.Load(); c.fresh == Sample && read != samples*sampleSize {
			t.Errorf("%+v: read %d bytes back", c, read)
		}
		in.Nonce = "2"
		if got, err = Push(t.Context(), in); err != nil || got[0].Verified != c.again || got[0].BytesUploaded != 0 {
			t.Errorf("again %+v: %v %+v", c, err, got)
		}
		delete(center.files, ISOPath("worker", sum))
		in.Channel, in.Nonce = "", "3"
		center.fail = func(op, p string) error {
			center.spoil = op == "put" || center.spoil
			return nil
		}
		if _, err = Push(t.Context(), in); (err != nil) != c.damage || err != nil && !errors.Is(err, errDiffers) {
			t.Errorf("damage %+v: %v", c, err)
		}
	}
}

// When samples differ, the one who is wrong is named: here it is the ISO on this machine.
func TestSamplesNameTheCulprit(t *testing.T) {
	content := noise(2 << 20)
	s := behind("a", "a1")[0]
	in, sum := build(t, content, s)
	if _, err := Push(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in.ISO, []byte("x"+content[1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Push(t.Context(), in); !errors.Is(err, errISO) || errors.Is(err, errDiffers) {
		t.Errorf("damaged here: %v", err)
	}
	if err := os.WriteFile(in.ISO, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s.files[ISOPath("worker", sum)] = []byte("x" + content[1:])
	if _, err := Push(t.Context(), in); !errors.Is(err, errDiffers) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("damaged there: %v", err)
	}
}

func TestReserve(t *testing.T) {
	for _, c := range []struct {
		free, reserve int64
		fits          bool
	}{{1<<30 + 2, 0, true}, {1<<30 + 1, 0, false}, {102, 100, true}, {101, 100, false}, {1, 1, false}, {-1, 0, true}} {
		s := newMemory("dc1")
		in, _ := build(t, "v1", s)
		s.free, in.Reserve = c.free, c.reserve
		if _, err := Push(t.Context(), in); (err == nil) != c.fits || err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	a, b := places(strings.Repeat("a", 64), 5<<20), places(strings.Repeat("b", 64), 5<<20)
	if fmt.Sprint(a) == fmt.Sprint(b) || fmt.Sprint(a) != fmt.Sprint(places(strings.Repeat("a", 64), 5<<20)) {
		t.Errorf("%v and %v", a, b)
	}
	for _, off := range append(a, b...) {
		if off < 0 || off > 5<<20-sampleSize {
			t.Errorf("a sample at %d", off)
		}
	}
}
