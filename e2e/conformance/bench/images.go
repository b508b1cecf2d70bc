package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// agentBytes is how much the agent image holds, so that the whole root file system has 550 to 600 MB.
const agentBytes = 205 << 20

// agent is an image with the Go tool chain: statically linked programs and many small text files, as a Docker
// host's agents bring them, and the same on every machine with this Go version.
func agent(scratch string) (v1.Image, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // ends by itself
	if err != nil {
		return nil, fmt.Errorf("find Go's own files: %w", err)
	}
	root := strings.TrimSpace(string(out))
	name := filepath.Join(scratch, "agent.tar")
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("pack agent image: %w", err)
	}
	w := &limited{tw: tar.NewWriter(f), left: agentBytes}
	for _, d := range []string{"bin", "pkg", "src"} {
		if err := filepath.WalkDir(filepath.Join(root, d), func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return w.add(root, p, e)
		}); err != nil {
			return nil, fmt.Errorf("pack agent image: %w", err)
		}
	}
	if err := w.tw.Close(); err != nil {
		return nil, fmt.Errorf("pack agent image: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("pack agent image: %w", err)
	}
	layer, err := tarball.LayerFromFile(name)
	if err != nil {
		return nil, fmt.Errorf("pack agent image: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("pack agent image: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("pack agent image: %w", err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Config.Cmd = "linux", "amd64", []string{"/usr/local/go/bin/go"}
	return mutate.ConfigFile(img, cf)
}

type limited struct {
	tw   *tar.Writer
	left int64
}

func (l *limited) add(root, p string, e fs.DirEntry) error {
	rel, err := filepath.Rel(root, p)
	if err != nil || l.left <= 0 || (!e.IsDir() && !e.Type().IsRegular()) {
		return err
	}
	h := &tar.Header{Name: "usr/local/go/" + rel, Typeflag: tar.TypeDir, Mode: 0o755}
	if e.IsDir() {
		return l.tw.WriteHeader(h)
	}
	data, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	l.left -= h.Size
	if err := l.tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = l.tw.Write(data)
	return err
}

// version is a new version of an image: all its content, and one more layer.
func version(img v1.Image, n int) (v1.Image, error) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	text := fmt.Sprintf("version %d\n", n)
	if err := tw.WriteHeader(&tar.Header{Name: "etc/version", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return nil, fmt.Errorf("make image version: %w", err)
	}
	if _, err := io.WriteString(tw, text); err != nil {
		return nil, fmt.Errorf("make image version: %w", err)
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("make image version: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return nil, fmt.Errorf("make image version: %w", err)
	}
	return mutate.AppendLayers(img, layer)
}
