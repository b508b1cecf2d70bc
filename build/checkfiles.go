package build

import (
	"strconv"

	"gopkg.in/yaml.v3"
)

// files checks what an entry of "files" needs beyond types.
func (c *checker) files(doc *yaml.Node) {
	for _, e := range items(child(doc, "files")) {
		if e.Kind == yaml.MappingNode {
			c.fileEntry(e)
		}
	}
}

func (c *checker) fileEntry(e *yaml.Node) {
	p := child(e, "path")
	if p == nil {
		c.say(e, `an entry of "files" has no path`)
	} else if _, err := filePath(p.Value); err != nil {
		c.say(p, "path %s: %v", quoted(p.Value), err)
	}
	if m := child(e, "mode"); m != nil && m.ShortTag() == "!!str" {
		if n, err := strconv.ParseUint(m.Value, 8, 32); err != nil || n > permMask {
			c.say(m, "mode %q is no octal number like \"0644\"", m.Value)
		}
	}
	if t := child(e, "symlink"); t != nil && t.Value != "" {
		if err := checkTarget(t.Value); err != nil {
			c.say(t, "symlink: %v", err)
		}
	}
	c.fileKind(e)
}

// fileKind: an entry is exactly one of file, link and directory.
func (c *checker) fileKind(e *yaml.Node) {
	var have []string
	for _, k := range []string{"contents", "source", "metadata", "symlink"} {
		if v := child(e, k); v != nil && (v.Value != "" || k == "contents") {
			have = append(have, k)
		}
	}
	d := child(e, "directory")
	isDir := d != nil && d.Value == "true"
	switch {
	case len(have) > 1:
		c.say(e, "a file has one of contents, source, metadata and symlink, this one has %s and %s", have[0], have[1])
	case isDir && len(have) > 0:
		c.say(e, "a directory cannot have %s", have[0])
	case !isDir && len(have) == 0:
		c.say(e, "a file needs one of contents, source, metadata and symlink (or directory: true)")
	}
	if m := child(e, "metadata"); m != nil && m.Value != "" && m.Value != "json" && m.Value != "yaml" {
		c.say(m, `metadata is "json" or "yaml", not %q`, m.Value)
	}
}
