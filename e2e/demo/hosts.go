package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// engineDeadline bounds the wait for SSH and the Docker Engine of one host after its boot.
const engineDeadline = 5 * time.Minute

// connect opens a host through a port that the lab forwards.
func (s *story) connect(ctx context.Context, vm string) (*host, error) {
	fmt.Fprintf(s.out, "%s: connecting by SSH\n", vm)
	addr, err := s.forward(ctx, vm)
	if err != nil {
		return nil, err
	}
	return dial(ctx, vm, addr, s.key)
}

// fill writes a file, imports a container image and runs it, on every host's data disk.
func (s *story) fill(ctx context.Context) error {
	for _, vm := range vms {
		if err := s.fillOne(ctx, vm); err != nil {
			return err
		}
		f, err := s.look(ctx, vm)
		if err != nil {
			return err
		}
		s.before[vm] = f
		fmt.Fprintf(s.out, "%s: %s, Docker %s, engine %s, file and container image written\n", vm, f.release, f.version, f.engine)
	}
	return nil
}

func (s *story) fillOne(ctx context.Context, vm string) error {
	ctx, cancel := context.WithTimeout(ctx, engineDeadline)
	defer cancel()
	h, err := s.connect(ctx, vm)
	if err != nil {
		return err
	}
	defer h.close()
	fmt.Fprintf(s.out, "%s: waiting for its Docker Engine\n", vm)
	if _, err := h.awaitEngine(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: writing a file and importing a container image\n", vm)
	if _, err := h.run("echo data of " + vm + " > /var/lib/docker/precious"); err != nil {
		return err
	}
	return h.importProgram(ctx, imported, filepath.Join(s.bin, "lkv-guest"))
}

// look reads the facts of a host and runs a container from the imported image.
func (s *story) look(ctx context.Context, vm string) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, engineDeadline)
	defer cancel()
	h, err := s.connect(ctx, vm)
	if err != nil {
		return facts{}, err
	}
	defer h.close()
	i, err := h.awaitEngine(ctx)
	if err != nil {
		return facts{}, err
	}
	f := facts{engine: i.ID, version: i.ServerVersion}
	if f.release, err = h.run("cat /etc/release-of-the-fleet"); err != nil {
		return f, err
	}
	if f.file, err = h.run("cat /var/lib/docker/precious"); err != nil {
		return f, err
	}
	if f.image, err = h.imageID(ctx, imported); err != nil {
		return f, err
	}
	code, err := h.runContainer(ctx, imported, "/lkv-guest", "help")
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: the container ended with exit code %d", vm, code)
	}
	return f, err
}

// verify wants everything on the data disk as it was, and the new release.
func (s *story) verify(ctx context.Context) error {
	if err := s.orderly(); err != nil {
		return err
	}
	for _, vm := range vms {
		got, err := s.look(ctx, vm)
		if err != nil {
			return err
		}
		s.after[vm] = got
		want := s.before[vm]
		want.release = "release 2"
		if got != want {
			return fmt.Errorf("%s after the roll: %+v, want %+v", vm, got, want)
		}
		if got.file != "data of "+vm {
			return fmt.Errorf("%s: file on the data disk: %q", vm, got.file)
		}
		fmt.Fprintf(s.out, "%s: %s, same file, same container image, same engine ID\n", vm, got.release)
	}
	return nil
}

// summary prints what took how long, and the table of VMs before and after.
func (s *story) summary() {
	fmt.Fprintf(s.out, "\n\033[1m== Summary\033[0m\n")
	w := tabwriter.NewWriter(s.out, 2, 4, 2, ' ', 0)
	var total time.Duration
	for _, st := range s.stages {
		fmt.Fprintf(w, "%s\t%6.1f s\n", st.name, st.took.Seconds())
		total += st.took
	}
	fmt.Fprintf(w, "together\t%6.1f s\n\n", total.Seconds())
	fmt.Fprintf(w, "VM\tbefore\tafter\tengine ID\tfile\tcontainer image\n")
	for _, vm := range vms {
		b, a := s.before[vm], s.after[vm]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\tkept\tkept (%.19s)\n", vm, b.release, a.release, a.engine, a.image)
	}
	_ = w.Flush() // the terminal is gone: nobody is left to tell
	fmt.Fprintf(s.out, "\nISO files: %s\n", strings.Join(s.isos, ", "))
}
