package squashfs

import (
	"errors"
	"fmt"
	"strings"
)

// check refuses an entry that the format cannot hold or that no file system should.
func (p *planner) check(e Entry) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Link != "" {
		return nil
	}
	switch e.Mode & typeMask {
	case typeReg:
		if e.Pack < 0 || e.Pack >= len(p.packs) || e.File < 0 || e.File >= len(p.packs[e.Pack].Files) {
			return fmt.Errorf("file %d of pack %d: there is none", e.File, e.Pack)
		}
	case typeLink:
		return checkTarget(e.Target)
	case typeChar, typeBlk:
		if e.Major > 0xfff || e.Minor > 0xfffff {
			return fmt.Errorf("device %d:%d: the format has 12 bits for the first number and 20 for the second", e.Major, e.Minor)
		}
	case typeDir, typeFifo, typeSock:
	default:
		return fmt.Errorf("mode %#o: no file type of Linux", e.Mode)
	}
	return nil
}

func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > maxPath {
		return fmt.Errorf("path of %d bytes: at most %d", len(path), maxPath)
	}
	for name := range strings.SplitSeq(path, "/") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("empty name in the path")
	case name == "." || name == "..":
		return fmt.Errorf("%q in the path", name)
	case strings.ContainsAny(name, "\x00/"):
		return errors.New("zero byte or slash in a name")
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes: at most %d", len(name), maxName)
	}
	return nil
}

func checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("symbolic link to nothing")
	case len(target) > maxPath:
		return fmt.Errorf("symbolic link to a path of %d bytes: at most %d", len(target), maxPath)
	case strings.ContainsRune(target, 0):
		return errors.New("zero byte in the target")
	}
	return nil
}
