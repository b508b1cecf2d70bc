package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

//go:embed lkv.hcl host.yml
var files embed.FS

// story is one run of the demo.
type story struct {
	dir, bin, cache string
	out             io.Writer
	key             ssh.Signer
	env             []string // of every lkv command
	lab             *exec.Cmd
	stages          []stage
	isos            []string
	before, after   map[string]facts
}

// stage is one line of the summary.
type stage struct {
	name string
	took time.Duration
}

// facts are what must be the same on a host after the roll, and the release that must not.
type facts struct {
	release, file, image, engine, version string
}

var vms = []string{"host-01", "host-02"}

const imported = "demo/program:1"

func newStory(dir, bin, cache string, out io.Writer) (*story, error) {
	if bin == "" || cache == "" {
		return nil, errors.New("LKV_BIN and LKV_CACHE are not set: run this through `make demo`")
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	return &story{dir: dir, bin: bin, cache: cache, out: out, key: key, env: append(os.Environ(), "LKV_CACHE="+cache),
		before: map[string]facts{}, after: map[string]facts{}}, nil
}

// tell runs the stages in order; the first error ends the story.
func (s *story) tell(ctx context.Context) error {
	for _, st := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"Build ISO, release 1", s.build("release 1")},
		{"Start the lab: two datacenters, three hosts each", s.startLab},
		{"Push to both datacenters", s.lkv("push")},
		{"Plan: two hosts are missing", s.pending},
		{"Reconcile: create two Docker hosts", s.lkv("reconcile")},
		{"Nothing to do the second time", s.converged},
		{"Put data on both hosts", s.fill},
		{"Build ISO, release 2", s.build("release 2")},
		{"Push release 2", s.lkv("push")},
		{"Plan: two hosts are outdated", s.pending},
		{"Reconcile: roll one host at a time", s.lkv("reconcile")},
		{"Nothing to do after the roll", s.converged},
		{"Look for the data", s.verify},
	} {
		fmt.Fprintf(s.out, "\n\033[1m== %s\033[0m\n", st.name)
		start := time.Now()
		if err := st.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
		s.stages = append(s.stages, stage{st.name, time.Since(start)})
	}
	return nil
}

// command prepares one lkv command in the demo's directory, its output on the screen.
func (s *story) command(ctx context.Context, args ...string) *exec.Cmd {
	fmt.Fprintf(s.out, "$ lkv %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "lkv"), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, s.out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd
}

func (s *story) lkv(args ...string) func(context.Context) error {
	return func(ctx context.Context) error { return s.command(ctx, args...).Run() }
}

// pending shows the plan and wants exit code 2: there is something to do.
func (s *story) pending(ctx context.Context) error { return s.plan(ctx, 2) }

// converged wants exit code 0: nothing to do.
func (s *story) converged(ctx context.Context) error { return s.plan(ctx, 0) }

func (s *story) plan(ctx context.Context, want int) error {
	err := s.command(ctx, "plan").Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if got := exitCode(exit); got != want {
		return fmt.Errorf("lkv plan: exit code %d, want %d", got, want)
	}
	return nil
}

func exitCode(e *exec.ExitError) int {
	if e == nil {
		return 0
	}
	return e.ExitCode()
}

// build writes the specification with the release in a file of the image, and builds the ISO.
func (s *story) build(release string) func(context.Context) error {
	return func(ctx context.Context) error {
		authorized := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.key.PublicKey())))
		for _, name := range []string{"lkv.hcl", "host.yml"} {
			b, err := files.ReadFile(name)
			if err != nil {
				return err
			}
			b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("RELEASE"), []byte(release)), []byte("AUTHORIZED_KEY"), []byte(authorized))
			if err := os.WriteFile(filepath.Join(s.dir, name), b, 0o600); err != nil {
				return err
			}
		}
		cmd := s.command(ctx, "build", "--offline", "--json")
		var doc bytes.Buffer
		cmd.Stdout = &doc
		if err := cmd.Run(); err != nil {
			return err
		}
		return s.built(doc.Bytes())
	}
}

// built notes the ISO that build --json names.
func (s *story) built(doc []byte) error {
	var res struct {
		Images []struct {
			ISO  string
			Size int64
		}
	}
	if err := json.Unmarshal(doc, &res); err != nil {
		return fmt.Errorf("build --json: %w", err)
	}
	for _, i := range res.Images {
		line := fmt.Sprintf("%s  %.1f MiB", filepath.Base(i.ISO), float64(i.Size)/(1<<20))
		s.isos = append(s.isos, line)
		fmt.Fprintf(s.out, "%s\n", line)
	}
	return nil
}
