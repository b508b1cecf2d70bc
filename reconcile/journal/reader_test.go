package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is done to the bytes of a file, it does not pass for whole any more.
func TestTamperedFilesAreCaught(t *testing.T) {
	raw, _ := real(t, "roll")
	lines := bytes.SplitAfter(raw, []byte("\n"))
	lines = lines[:len(lines)-1]
	rapid.Check(t, func(t *rapid.T) {
		var out []byte
		i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
		k := rapid.IntRange(0, len(lines)-1).Draw(t, "other line")
		switch rapid.IntRange(0, 5).Draw(t, "how") {
		case 0: // a byte is another one
			out = bytes.Clone(raw)
			at := rapid.IntRange(0, len(out)-1).Draw(t, "at")
			out[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		case 1: // the end is cut off
			out = raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "length")]
		case 2: // a line is cut out
			out = bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
		case 3: // two lines change places
			moved := slices.Clone(lines)
			if moved[i], moved[k] = moved[k], moved[i]; i == k {
				t.Skip("the same line")
			}
			out = bytes.Join(moved, nil)
		case 4: // a line stands twice
			out = bytes.Join(slices.Insert(slices.Clone(lines), k, lines[i]), nil)
		case 5: // bytes are put in
			at := rapid.IntRange(0, len(raw)).Draw(t, "at")
			out = slices.Concat(raw[:at], rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "bytes"), raw[at:])
		}
		rep, err := Verify(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		if rep.OK() {
			t.Fatal("it passes for whole")
		}
	})
}

func TestUnfinishedCallsAreNamed(t *testing.T) {
	_, lines := real(t, "roll")
	s := &script{t: t, lines: lines}
	i := s.at(0, sends("PowerOnVM_Task"))
	cut := chained(t, s.lines[:i+1])
	rep := verified(t, cut)
	if len(rep.Unfinished) != 1 || rep.Unfinished[0].Method != "PowerOnVM_Task" || rep.Unfinished[0].On != "wrk-01" || rep.Unfinished[0].Line != i+1 || rep.OK() || rep.Closed {
		t.Errorf("%+v", rep)
	}
	if got := violated(rep); len(got) > 0 {
		t.Errorf("a run that was killed violates %v", got)
	}
}

func TestReaderRefuses(t *testing.T) {
	raw, lines := real(t, "roll")
	newer := *lines[0].Head
	for name, file := range map[string][]byte{
		"empty line":     []byte("\n"),
		"no JSON":        []byte("hello\n"),
		"no head":        chained(t, lines[1:]),
		"two heads":      chained(t, []Line{lines[0], lines[0]}),
		"two records":    chained(t, []Line{{Head: lines[0].Head, Close: &Close{}}}),
		"after the end":  chained(t, append(slices.Clone(lines), lines[len(lines)-2])),
		"a long line":    append(bytes.Repeat([]byte(" "), longest+1), '\n'),
		"unknown fields": []byte(strings.Replace(string(raw), `{"n":1,`, `{"n":1,"x":1,`, 1)),
	} {
		if rep := verified(t, file); rep.Broken == "" {
			t.Errorf("%s: %+v", name, rep)
		}
	}
	newer.Format = Format + 1
	if rep := verified(t, chained(t, []Line{{Head: &newer, Time: lines[0].Time}})); !strings.Contains(rep.Broken, "newer lkv") {
		t.Errorf("newer format: %q", rep.Broken)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestVerifyReturnsErrorsOfTheFile(t *testing.T) {
	if _, err := Verify(failing{}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	raw, _ := real(f, "create")
	lines := bytes.SplitAfter(raw, []byte("\n"))
	f.Add(bytes.Join(lines[:3], nil))
	for i := 0; i+3 < len(lines); i += 3 {
		f.Add(bytes.Join(lines[i:i+3], nil))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		verified(t, raw)
		for r := NewReader(bytes.NewReader(raw)); ; {
			l, line, err := r.Next()
			if err != nil {
				break
			}
			if own, err := encode(l); err != nil || !bytes.Equal(own, line) {
				t.Errorf("%q is read, and written as %q", line, own)
			}
		}
		// The same as somebody would forge it, with digests that are right.
		var forged []Line
		for part := range bytes.Lines(raw) {
			var l Line
			if json.Unmarshal(part, &l) == nil {
				forged = append(forged, l)
			}
		}
		verified(t, chained(t, forged))
	})
}
