package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// startLab starts `lkv lab up` beside the demo and takes over the environment that it prints.
func (s *story) startLab(ctx context.Context) error {
	cmd := s.command(ctx, "lab", "up", "--dir", "lab", "--json")
	log, err := os.Create(filepath.Join(s.dir, "lab.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	cmd.Stderr, cmd.Stdout = log, nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.lab = cmd
	var env map[string]string
	if err := json.NewDecoder(out).Decode(&env); err != nil {
		return fmt.Errorf("read the lab's environment: %w", err)
	}
	for k, v := range env {
		s.env = append(s.env, k+"="+v)
	}
	fmt.Fprintf(s.out, "vCenter %s\n", env["LKV_VCENTER_URL"])
	return nil
}

// forward asks the lab for a loopback address that leads to a VM's SSH port.
func (s *story) forward(ctx context.Context, vm string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "lkv"), "lab", "forward", "--dir", "lab", "--vm", vm, "--port", "22")
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("lkv lab forward: %w: %s", err, exit.Stderr)
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// close ends the lab, and with it the VMs.
func (s *story) close() {
	if s.lab == nil {
		return
	}
	_ = s.lab.Process.Signal(os.Interrupt) // it may have died already
	_ = s.lab.Wait()                       // by that signal
}

// consoles are the serial logs of all VMs, each with all boots.
func (s *story) consoles() []string {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "lab", "machines", "*", "*", "serial.log")) // the pattern is well-formed
	return logs
}

// orderly wants every VM to have gone off by itself for the roll: services stopped, file systems unmounted.
func (s *story) orderly() error {
	logs := s.consoles()
	if len(logs) != len(vms) {
		return fmt.Errorf("%d consoles, want %d", len(logs), len(vms))
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte("lkv: power off")); n != 1 {
			return fmt.Errorf("%s: %d orderly shutdowns, want 1", path, n)
		}
	}
	return nil
}

// evidence prints what a failed story left: the end of the lab's log and of every console.
func (s *story) evidence() {
	for _, path := range append(s.consoles(), filepath.Join(s.dir, "lab.log")) {
		f, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fmt.Fprintf(s.out, "\n--- end of %s\n%s\n", filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), bytes.TrimSpace(f[max(0, len(f)-4000):]))
	}
}
