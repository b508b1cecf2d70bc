package lab

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/report"
)

// header is the first line of a disk that a paper guest has formatted: what a superblock would say.
// The rest of the first two MiB is a pattern that depends on the disk's serial number.
type header struct {
	Label      string `json:"label"`
	UUID       string `json:"uuid"` // of the file system
	Filesystem string `json:"filesystem"`
}

// report is what a real guest would write after this boot; nil when the ISO has no manifest beside it.
func (m *paperMachine) report() []byte {
	man, err := readManifest(m.b.ISO)
	if err != nil {
		m.log("no report: %v", err)
		return nil
	}
	r := report.Report{Format: report.Format, Image: report.Image{Name: man.Image, ID: man.ID}, BootID: rand.Text(),
		Hostname: m.b.VM, State: report.Running, Token: m.b.Guestinfo[report.TokenKey]}
	if h := m.b.Guestinfo[report.HostnameKey]; h != "" {
		r.Hostname = h
	}
	if m.how.StaleToken {
		r.Token = ""
	}
	taken := map[string]bool{}
	for _, p := range man.Persist {
		d := m.persist(p, taken)
		r.Disks = append(r.Disks, d)
		if !d.Mounted && p.Gated {
			r.State, r.Error = report.Failed, p.Mount+": "+d.Error
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		m.log("no report: %v", err)
		return nil
	}
	return b
}

// untrusted says why firmware with Secure Boot would not start the ISO, or nothing.
func (m *paperMachine) untrusted() string {
	if !m.b.SecureBoot {
		return ""
	}
	man, err := readManifest(m.b.ISO)
	switch s := man.SecureBoot; {
	case err != nil:
		return err.Error()
	case s == nil:
		return "the ISO is not signed"
	case s.Chain == manifest.ChainKey && !slices.ContainsFunc(m.b.DB, func(der []byte) bool { return bytes.Equal(der, s.Certificate) }):
		return "the ISO is signed with a key that is not in db"
	}
	return ""
}

// readManifest reads <name>.manifest.json beside <name>.iso.
func readManifest(iso string) (manifest.Manifest, error) {
	f, err := os.Open(strings.TrimSuffix(iso, ".iso") + ".manifest.json")
	if err != nil {
		return manifest.Manifest{}, err
	}
	defer func() { _ = f.Close() }()
	return manifest.Read(f)
}

// persist finds the disk of one persist entry, formats it when it is blank, and mounts it.
func (m *paperMachine) persist(p manifest.Persist, taken map[string]bool) report.Disk {
	d := report.Disk{Mount: p.Mount, Label: p.Label, Filesystem: p.Filesystem}
	if m.how.FailMount {
		d.Error = "cannot mount"
		return d
	}
	found, h, err := m.findDisk(p, taken)
	if err != nil {
		d.Error = err.Error()
		return d
	}
	taken[found.Path] = true
	d.Device = fmt.Sprintf("/dev/sd%c1", 'a'+slices.IndexFunc(m.b.Disks, func(x BootDisk) bool { return x.Path == found.Path }))
	d.Serial, d.Size = found.Serial, found.Bytes
	if h == nil || p.Force {
		if h, err = format(found, p); err != nil {
			d.Error = err.Error()
			return d
		}
		d.Formatted = true
		m.log("formatted %s for %s", d.Device, p.Mount)
	}
	d.UUID, d.Filesystem, d.Mounted = h.UUID, h.Filesystem, true
	return d
}

// findDisk prefers a disk that carries the entry's label (or has its UUID), then the first blank one. A disk with other
// content is foreign and is left alone, unless the entry says force.
func (m *paperMachine) findDisk(p manifest.Persist, taken map[string]bool) (BootDisk, *header, error) {
	var blank, any *BootDisk
	for _, d := range m.b.Disks {
		if taken[d.Path] || p.UUID != "" && serial(p.UUID) != d.Serial {
			continue
		}
		h, empty, err := readHeader(d.Path)
		if err != nil {
			return d, nil, err
		}
		switch {
		case h != nil && (p.UUID != "" || h.Label == p.Label):
			if h.Filesystem != p.Filesystem {
				return d, nil, fmt.Errorf("%s on the disk, want %s", h.Filesystem, p.Filesystem)
			}
			return d, h, nil
		case empty && blank == nil:
			blank = &d
		}
		any = &d
	}
	if blank != nil {
		return *blank, nil, nil
	}
	if any != nil && p.Force {
		return *any, nil, nil
	}
	return BootDisk{}, nil, errors.New("no disk for it")
}

// readHeader reads what a disk carries: a header, nothing at all (empty), or something else.
func readHeader(path string) (h *header, empty bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, mib))
	if err != nil {
		return nil, false, err
	}
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		return nil, true, nil
	}
	line, _, ok := bytes.Cut(b, []byte("\n"))
	var got header
	if !ok || json.Unmarshal(line, &got) != nil {
		return nil, false, nil
	}
	return &got, false, nil
}

// format writes header and pattern.
func format(d BootDisk, p manifest.Persist) (*header, error) {
	h := header{Label: p.Label, UUID: rand.Text(), Filesystem: p.Filesystem}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := bytes.Repeat([]byte(d.Serial+"\n"), patterned/max(1, len(d.Serial)+1))
	copy(b, append(line, '\n'))
	f, err := os.OpenFile(d.Path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(b[:min(int64(len(b)), d.Bytes)], 0)
	return &h, errors.Join(err, f.Close())
}
