package persist

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Found is a disk with what lies on it.
type Found struct {
	Disk
	Super     *Super // nil: no ext or xfs file system
	Signature string // what blkid sees, in words; empty: nothing
	Data      int64  // position of a byte that is not zero; -1: blank. Whole disks only
	Note      *Note  // we were formatting this disk
	Unclear   bool   // blkid sees several things at once
	Removable bool
	Err       error // the disk could not be read: nothing else is known about it
}

// Look inspects a disk without writing to it.
func (p Persist) Look(ctx context.Context, d Disk) Found {
	f := Found{Disk: d, Data: -1}
	dev, err := os.Open(d.Node)
	if err != nil {
		f.Err = fmt.Errorf("open %s: %w", d.Node, err)
		return f
	}
	defer func() { _ = dev.Close() }()
	super, ok, err := ReadSuper(dev)
	if err != nil {
		f.Err = fmt.Errorf("%s: %w", d.Node, err)
		return f
	}
	if ok {
		f.Super = &super
	}
	if f.Signature, f.Unclear, f.Err = p.blkid(ctx, d.Node); f.Err != nil || d.Parent != "" {
		return f
	}
	if f.Note, f.Err = readNote(dev, d); f.Err != nil {
		return f
	}
	except := int64(-1)
	if f.Note != nil {
		except = notePlace(d.Size)
	}
	f.Data, f.Err = NotBlank(dev, d.Size, except)
	f.Removable = removable(p.Sys, d.Name)
	return f
}

// blkid asks libblkid's low-level prober, which knows far more than this package: exit status 0 is something, 2 is
// nothing, 8 is several things that exclude each other.
func (p Persist) blkid(ctx context.Context, node string) (signature string, unclear bool, err error) {
	out, code, err := p.Run(ctx, "blkid", "-p", "-o", "export", node)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("probe %s: %w", node, err)
	case code == 2:
		return "", false, nil
	case code == 8:
		return "several signatures at once", true, nil
	case code != 0:
		return "", false, fmt.Errorf("probe %s: blkid: exit status %d: %s", node, code, lastLine(out))
	}
	return describe(parseExport(out)), false, nil
}

// parseExport reads blkid's KEY=value lines.
func parseExport(out string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[key] = strings.ReplaceAll(value, `\`, "")
		}
	}
	return vars
}

// describe is empty only when blkid said nothing about the contents. What is said about the partition that the
// device itself is (PART_ENTRY) and about its sectors does not count.
func describe(vars map[string]string) string {
	var s string
	switch {
	case vars["TYPE"] != "":
		s = vars["TYPE"]
	case vars["PTTYPE"] != "":
		s = vars["PTTYPE"] + " partition table"
	default:
		for key := range vars {
			if !strings.HasPrefix(key, "PART_ENTRY_") && key != "DEVNAME" && !strings.HasSuffix(key, "_SIZE") && !strings.HasSuffix(key, "_IO") {
				return "unknown signature (" + key + ")"
			}
		}
		return ""
	}
	if vars["LABEL"] != "" {
		s += fmt.Sprintf(" labelled %q", vars["LABEL"])
	}
	return s
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// String says what was found, for messages.
func (f Found) String() string {
	name := f.Node
	if s := f.Serial(); s != "" {
		name += " (serial " + s + ")"
	}
	switch {
	case f.Err != nil:
		return name + ": " + f.Err.Error()
	case f.Busy != "":
		return name + " is " + f.Busy
	case f.Signature != "":
		return name + " holds " + f.Signature
	case f.Super != nil:
		return fmt.Sprintf("%s holds %s labelled %q", name, f.Super.Type, f.Super.Label)
	case f.Data >= 0:
		return fmt.Sprintf("%s holds unknown data (first seen at byte %d)", name, f.Data)
	case f.Note != nil:
		return fmt.Sprintf("%s was being formatted for label %q", name, f.Note.Label)
	case f.Removable:
		return name + " is removable"
	}
	return fmt.Sprintf("%s is blank (%d MiB)", name, f.Size>>20)
}
