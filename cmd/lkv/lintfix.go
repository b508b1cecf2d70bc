package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lkv-io/lkv/build"
	"github.com/lkv-io/lkv/build/lint"
)

// repair makes the safe edits of findings in their files and returns the findings it dealt with, with what it changed.
// A file is written whole or not at all, and only when it is right before and after and nobody changed it meanwhile.
func repair(list []lint.Finding, data map[string][]byte) (fixed []lint.Finding, changes []string, err error) {
	files := map[string]bool{}
	for _, f := range list {
		before, known := data[f.File]
		if files[f.File] || !known {
			continue
		}
		files[f.File] = true
		var own []lint.Finding
		for _, g := range list {
			if g.File == f.File {
				own = append(own, g)
			}
		}
		after, done := lint.Apply(before, own)
		if len(done) == 0 {
			continue
		}
		if p := build.Check(f.File, after); len(p) > 0 {
			return fixed, changes, fmt.Errorf("fix %s: the result would be faulty, the file is left as it was: %w", f.File, p)
		}
		if err := rewrite(f.File, before, after); err != nil {
			return fixed, changes, fmt.Errorf("fix %s: %w", f.File, err)
		}
		for _, d := range done {
			fixed = append(fixed, d)
			changes = append(changes, change(before, d))
		}
	}
	return fixed, changes, nil
}

// change shows one edit as lines with - and +.
func change(data []byte, f lint.Finding) string {
	text := fmt.Sprintf("%s: fixed %s: %s\n", place(f), f.Code, f.Text)
	if f.Source == "" {
		return text // the line shows a secret
	}
	start, end := f.Edit.Start, f.Edit.End
	from := bytes.LastIndexByte(data[:start], '\n') + 1
	to := end
	if to == from || data[to-1] != '\n' {
		if n := bytes.IndexByte(data[to:], '\n'); n >= 0 {
			to += n
		} else {
			to = len(data)
		}
	}
	old, now := textLines(string(data[from:to])), textLines(string(data[from:start])+f.Edit.New+string(data[end:to]))
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		old, now = old[1:], now[1:]
	}
	for _, l := range old {
		text += "  - " + l + "\n"
	}
	for _, l := range now {
		text += "  + " + l + "\n"
	}
	return text
}

func textLines(text string) []string {
	text = strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// rewrite replaces a file's content at once and keeps its mode. A link stays a link.
func rewrite(path string, before, after []byte) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".lkv-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(after)
	if err := errors.Join(err, tmp.Chmod(st.Mode().Perm()), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return errors.New("it was changed meanwhile: run lkv lint again")
	}
	return os.Rename(tmp.Name(), path)
}
