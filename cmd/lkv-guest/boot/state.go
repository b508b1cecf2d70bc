package boot

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/lkv-io/lkv/internal/report"
)

// state is the report as it stands. Every change is written to the file; a change of state is published by PID 1
// itself as well, since after a stopped boot there is no service that would.
type state struct {
	mu      sync.Mutex
	file    string // report.Path
	disks   string // report.DisksDir
	publish func(key, value string) error
	now     report.Report
}

func newState(file, disks string, publish func(key, value string) error) *state {
	return &state{file: file, disks: disks, publish: publish, now: report.Report{
		Format: report.Format, State: report.Booting, Disks: []report.Disk{}, Services: []report.Service{},
	}}
}

// change edits the report and writes it.
func (s *state) change(edit func(*report.Report)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now.State
	edit(&s.now)
	data, err := json.Marshal(s.now)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := writeFile(s.file, data); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if s.now.State != before || s.now.State == report.Booting {
		if err := s.publish(report.Key, string(data)); err != nil {
			return fmt.Errorf("publish report: %w", err)
		}
	}
	return nil
}

// service records one service.
func (s *state) service(name, what string, restarts int) error {
	return s.change(func(r *report.Report) {
		now := report.Service{Name: name, State: what, Restarts: restarts}
		i := slices.IndexFunc(r.Services, func(x report.Service) bool { return x.Name == name })
		if i < 0 {
			r.Services = append(r.Services, now)
			return
		}
		r.Services[i] = now
	})
}

// mergeDisks takes over what persist steps have left and returns the disks that were not there before.
func (s *state) mergeDisks() (fresh []report.Disk, err error) {
	found, err := readDisks(s.disks)
	if err != nil {
		return nil, err
	}
	err = s.change(func(r *report.Report) {
		for _, d := range found {
			if !slices.Contains(r.Disks, d) {
				fresh = append(fresh, d)
			}
		}
		r.Disks = found
	})
	return fresh, err
}

// mountedDisks are the disks that were reported as mounted.
func (s *state) mountedDisks() []report.Disk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.now.Disks), func(d report.Disk) bool { return !d.Mounted })
}

// readDisks reads dir/*.json in name order.
func readDisks(dir string) ([]report.Disk, error) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	slices.Sort(files)
	out := []report.Disk{}
	for _, f := range files {
		var d report.Disk
		if err := readJSON(f, &d); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func readJSON(file string, into any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(file), err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(file), err)
	}
	return nil
}

// writeFile replaces the file in one step: readers see the old or the new one, never half of it.
func writeFile(file string, data []byte) error {
	next := file + ".next"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	return os.Rename(next, file)
}

// bootID is the kernel's random number of this boot.
func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}
