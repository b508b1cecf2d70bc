package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// errDamaged is wrapped when a file of the segment cache is not what was written there. The segment is dropped
// then, so that the next attempt makes it anew: a damaged cache heals instead of reaching an ISO.
var errDamaged = errors.New("the segment cache is damaged")

// drop forgets a segment: without its description it does not exist.
func (s *store) drop(seg segment, why error) error {
	err := os.Remove(s.path(seg.key, ".json"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(fmt.Errorf("segment %s: %w: %w", seg.Name, errDamaged, why), err)
}

// open returns a segment's bytes. They are verified while they are read, so that a warm build reads them once;
// what comes after a mismatch is an error, before the file's end is reported.
func (s *store) open(seg segment) (io.ReadCloser, error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return nil, s.drop(seg, err)
	}
	return &verified{s: s, seg: seg, f: f, sum: sha256.New()}, nil
}

type verified struct {
	s   *store
	seg segment
	f   *os.File
	sum hash.Hash
	n   int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.sum.Write(p[:n])
	v.n += int64(n)
	done := v.n >= v.seg.Size || err == io.EOF
	if done && (v.n != v.seg.Size || hex.EncodeToString(v.sum.Sum(nil)) != v.seg.SHA256) {
		return 0, v.s.drop(v.seg, fmt.Errorf("%s has other bytes", v.f.Name()))
	}
	return n, err
}

func (v *verified) Close() error { return v.f.Close() }
