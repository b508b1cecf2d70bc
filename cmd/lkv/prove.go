package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/manifest"
	"github.com/lkv-io/lkv/internal/prove"
	"github.com/lkv-io/lkv/internal/qemu"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/specs"
)

// limits are the deadlines of a proof. On a busy machine with two cores and without KVM a boot takes 20 to 40 s, an idle
// shutdown 2 s; with KVM a tenth of that. What has not come by then does not come.
type limits struct{ boot, grace time.Duration }

var withKVM, withoutKVM = limits{2 * time.Minute, time.Minute}, limits{6 * time.Minute, 3 * time.Minute}

func (s system) proveCommand() *cli.Command {
	return &cli.Command{
		Name: "prove", Usage: "boot an ISO in QEMU on fresh disks and prove that the data survives; exit 1 if it does not",
		Description: "It boots four times: on a blank disk, then the power is cut; on that disk again, with the other firmware;\n" +
			"without the disk; and with foreign disks. The first two must start services and find the data, the others must not\n" +
			"start any nor change a byte. Uses KVM when the CPU has it. The ISO's manifest must lie beside it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "image", Usage: "prove the newest ISO of the image `NAME` (default: the spec's only image)"},
			&cli.StringFlag{Name: "iso", Usage: "prove the ISO `FILE`; needs no spec"},
			&cli.StringFlag{Name: "out", Value: "dist", Usage: "`DIR` that lkv build wrote into"},
			&cli.StringFlag{Name: "disk-size", Value: "512MiB", Usage: "`SIZE` of each data disk"},
			&cli.StringFlag{Name: "memory", Usage: "`SIZE` of the memory (default what the image needs and 512MiB)"},
			&cli.IntFlag{Name: "cpus", Value: 1, Usage: "`NUMBER` of processors"},
			&cli.DurationFlag{Name: "deadline", Usage: "`TIME` that one boot may take, for example 10m; 0s: 2m with KVM, 6m without"},
			&cli.StringFlag{Name: "keep", Usage: "keep the logs in `DIR` in any case (default: on failure only, in a new directory)"},
		},
		Action: s.prove,
	}
}

func (s system) prove(c *cli.Context) (err error) {
	iso, err := s.isoToBoot(c)
	if err != nil {
		return err
	}
	proof, err := s.proof(c, iso)
	if err != nil {
		return err
	}
	if proof.Work, err = os.MkdirTemp("", "lkv-prove-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(proof.Work)) }()
	if proof.Logs, err = logsDir(c.String("keep")); err != nil {
		return err
	}
	progress := s.progress(c)
	defer progress.Wait()
	proof.Watch = func(title string) func(prove.Step) {
		item := progress.Start("prove: "+title, 0)
		return func(step prove.Step) {
			if step.Proven {
				item.Done(step.Detail)
			} else {
				item.Fail(errors.New(step.Detail))
			}
		}
	}
	res, err := proof.Run(c.Context)
	progress.Wait()
	logs := proof.Logs
	if c.String("keep") == "" && (err != nil || res.Proven || len(res.Steps) == 0) {
		err = errors.Join(err, os.RemoveAll(logs))
		logs = ""
	}
	if err != nil {
		return err
	}
	return s.verdict(given(c, "json"), res, logs)
}

// proof describes what the flags ask for, but for its directories.
func (s system) proof(c *cli.Context, iso string) (prove.Proof, error) {
	m, known, err := manifestOf(iso)
	if err != nil {
		return prove.Proof{}, err
	}
	if !known {
		return prove.Proof{}, fmt.Errorf("%s has no manifest: put the %s.manifest.json that lkv build wrote beside it", iso, strings.TrimSuffix(filepath.Base(iso), ".iso"))
	}
	disk, err := specs.ParseSize(c.String("disk-size"))
	if err != nil {
		return prove.Proof{}, usagef("--disk-size: %s", err)
	}
	if disk < 64*specs.MiB {
		return prove.Proof{}, usagef("--disk-size %s: no file system lkv makes is smaller than 64MiB", c.String("disk-size"))
	}
	memory, err := proofMemory(c.String("memory"), m)
	if err != nil {
		return prove.Proof{}, err
	}
	limit := withoutKVM
	if qemu.KVM() {
		limit = withKVM
	}
	switch d := c.Duration("deadline"); {
	case d < 0:
		return prove.Proof{}, usagef("--deadline %s: give a time above zero", d)
	case d > 0:
		limit.boot = d
	}
	p := prove.Proof{
		ISO: iso, Manifest: m, MemoryMiB: memory, CPUs: c.Int("cpus"), DiskSize: int64(disk),
		Boot: limit.boot, Grace: limit.grace, Start: prove.QEMU, Now: s.Now,
	}
	for i := range p.Nonces {
		var b [8]byte
		if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
			return p, fmt.Errorf("make nonce: %w", err)
		}
		p.Nonces[i] = hex.EncodeToString(b[:])
	}
	return p, nil
}

// proofMemory returns the MiB that the flag asks for, else those that the image needs and 512.
func proofMemory(flag string, m manifest.Manifest) (int, error) {
	memory := specs.Size(m.RAM.Minimum) + 513*specs.MiB - 1
	if flag != "" {
		var err error
		if memory, err = specs.ParseSize(flag); err != nil {
			return 0, usagef("--memory: %s", err)
		}
	}
	return int(memory / specs.MiB), nil
}

// logsDir makes the directory that logs are kept in.
func logsDir(keep string) (string, error) {
	if keep != "" {
		if err := os.MkdirAll(keep, 0o777); err != nil {
			return "", fmt.Errorf("make directory for logs: %w", err)
		}
		return keep, nil
	}
	dir, err := os.MkdirTemp("", "lkv-prove-logs-")
	if err != nil {
		return "", fmt.Errorf("make directory for logs: %w", err)
	}
	return dir, nil
}

// verdict prints the steps and the verdict, and says by the exit code whether it is a proof.
func (s system) verdict(asJSON bool, res prove.Result, logs string) error {
	var err error
	if asJSON {
		err = s.printJSON(struct {
			prove.Result
			Logs string `json:"logs,omitempty"`
		}{res, logs})
	} else {
		_, err = io.WriteString(s.Stdout, verdictText(s.style(), res, logs))
	}
	if err == nil && !res.Proven {
		err = &exit{code: exitError}
	}
	return err
}

func verdictText(style ui.Style, res prove.Result, logs string) string {
	var b strings.Builder
	for _, step := range res.Steps {
		word := style.Good("ok  ")
		if !step.Proven {
			word = style.Bad("FAIL")
		}
		fmt.Fprintf(&b, "%s  %6.1fs  %s: %s\n", word, step.Seconds, step.Title, step.Detail)
	}
	if logs != "" {
		fmt.Fprintf(&b, "console logs, and the screen of a failure, are in %s\n", logs)
	}
	paint := style.Good
	if !res.Proven {
		paint = style.Bad
	}
	return b.String() + paint(res.Verdict) + "\n"
}
