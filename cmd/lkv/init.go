package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/specs/examples"
)

func (s system) initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "write a commented lkv.hcl, a LinuxKit YAML and a CI script that work as they stand",
		Flags: []cli.Flag{&cli.StringFlag{Name: "dir", Value: ".", Usage: "write into `DIR`, which is made when it is missing"}},
		Action: func(c *cli.Context) error {
			written, err := writeExample(c.String("dir"))
			if err != nil {
				return err
			}
			if given(c, "json") {
				return s.printJSON(map[string][]string{"written": written})
			}
			_, err = fmt.Fprintf(s.Stdout, "wrote %s\nnext: change what is yours in lkv.hcl, then lkv lint and lkv build\n", strings.Join(written, ", "))
			return err
		},
	}
}

// writeExample writes the example's files; when one is there already it writes none.
func writeExample(dir string) ([]string, error) {
	entries, err := fs.ReadDir(examples.FS, examples.DockerHost)
	if err != nil {
		return nil, fmt.Errorf("read example: %w", err)
	}
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(dir, e.Name())); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already: lkv init overwrites nothing; name another directory with --dir", filepath.Join(dir, e.Name()))
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	var written []string
	for _, e := range entries {
		b, err := fs.ReadFile(examples.FS, examples.DockerHost+"/"+e.Name())
		if err != nil {
			return written, fmt.Errorf("read example: %w", err)
		}
		mode := fs.FileMode(0o666)
		if strings.HasSuffix(e.Name(), ".sh") {
			mode = 0o777
		}
		path := filepath.Join(dir, e.Name())
		if err := writeNew(path, b, mode); err != nil {
			return written, err
		}
		written = append(written, path)
	}
	return written, nil
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	return nil
}
