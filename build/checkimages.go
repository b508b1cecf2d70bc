package build

import (
	"errors"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"gopkg.in/yaml.v3"
)

// kernel checks the references that are no lists.
func (c *checker) kernel(doc *yaml.Node) {
	if k := child(doc, "kernel"); k != nil {
		c.reference(child(k, "image"))
	}
}

func (c *checker) init(doc *yaml.Node) {
	for _, e := range items(child(doc, "init")) {
		c.reference(e)
	}
}

// images checks what a container needs beyond types: a name that can be a directory, and an image.
func (c *checker) images(doc *yaml.Node, section string) {
	c.names(doc, section)
	for _, e := range items(child(doc, section)) {
		if e.Kind != yaml.MappingNode {
			continue
		}
		if i := child(e, "image"); i != nil {
			c.reference(i)
		} else {
			c.say(e, "an entry of %q has no image", section)
		}
	}
}

// names checks the names of a section's entries. Those of onboot and onshutdown may come twice: LinuxKit numbers
// their directories.
func (c *checker) names(doc *yaml.Node, section string) {
	names := map[string]int{}
	for _, e := range items(child(doc, section)) {
		if e.Kind != yaml.MappingNode {
			continue
		}
		n := child(e, "name")
		switch {
		case n == nil:
			c.say(e, "an entry of %q has no name", section)
		case n.Kind != yaml.ScalarNode:
		case n.Value == "" || n.Value == "." || n.Value == ".." || strings.ContainsAny(n.Value, "/\x00") || len("000-"+n.Value) > maxName:
			c.say(n, "name %s cannot be the name of a directory", quoted(n.Value))
		case (section == "services" || section == volumes) && names[n.Value] != 0:
			c.say(n, "%s %q is there twice, first in line %d", strings.TrimSuffix(section, "s"), n.Value, names[n.Value])
		default:
			names[n.Value] = n.Line
		}
	}
}

func (c *checker) reference(n *yaml.Node) {
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return
	}
	_, err := name.ParseReference(n.Value)
	if err == nil && slices.Contains(strings.Split(n.Value, "/"), "..") { // the library lets it through
		err = errors.New(`a repository has no ".."`)
	}
	if err != nil {
		c.say(n, "image %q: %v", n.Value, err)
	}
}
