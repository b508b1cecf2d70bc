package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"gopkg.in/yaml.v3"
)

// source is where an entry of the YAML's files section comes from.
type source struct {
	path string // of its "source:", empty when it has none
	file string // the YAML
	line int    // in the YAML, 0 when unknown
}

// errSource is wrapped by the refusal of a "source:" that is there but cannot be a file of an image.
var errSource = errors.New("not a source")

// at says which entry of which YAML an error is about.
func (s source) at(path string, err error) error {
	where := Problem{File: s.file, Line: s.line, Text: "file " + path}
	return fmt.Errorf("%s: %w", where, err)
}

// open looks before it opens: a named pipe would wait for a writer, a device would never end.
func (s source) open() (*os.File, error) {
	st, err := os.Stat(s.path)
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is no regular file (%s)", errSource, s.path, st.Mode())
	case st.Size() > maxWhole:
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d: put it into an image", errSource, s.path, st.Size(), int64(maxWhole))
	}
	return os.Open(s.path)
}

func (s source) read() ([]byte, error) {
	f, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxWhole+1))
	if err == nil && len(data) > maxWhole {
		err = fmt.Errorf("%w: %s grows", errSource, s.path)
	}
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	return data, nil
}

// sum is the SHA-256 of the content, empty when an optional file is not there.
func (s source) sum(optional bool) (string, error) {
	data, err := s.read()
	if errors.Is(err, fs.ErrNotExist) && optional {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// fileLines are the lines of the entries of "files", 0 where a file has no such entry. The document was checked.
func fileLines(data []byte) func(i int) int {
	var doc yaml.Node
	var list []*yaml.Node
	if yaml.Unmarshal(data, &doc) == nil && len(doc.Content) > 0 {
		list = items(child(doc.Content[0], "files"))
	}
	return func(i int) int {
		if i >= len(list) {
			return 0
		}
		return list[i].Line
	}
}
