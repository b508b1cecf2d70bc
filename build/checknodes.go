package build

import "gopkg.in/yaml.v3"

// maxDepth ends a document that contains itself through an alias.
const maxDepth = 32

// maxVisits ends one that a few lines of aliases and merges expand to any size. Real files have hundreds of keys.
const maxVisits = 1_000_000

// whole checks a document's keys and types. It returns false when the document expands to more than maxVisits.
func (c *checker) whole(doc *yaml.Node, o object) bool {
	c.object(doc, o, "", 0)
	if c.visits <= maxVisits {
		return true
	}
	c.found = nil
	c.say(doc, "aliases make the document expand to more than %d entries: write them out", maxVisits)
	return false
}

// visit counts one key or list element and tells whether it may still be looked at.
func (c *checker) visit() bool {
	c.visits++
	return c.visits <= maxVisits
}

// follow goes from an alias to what it stands for.
func follow(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && i < maxDepth; i++ {
		n = n.Alias
	}
	return n
}

// child returns the value of a key, through aliases and merges, nil when there is none.
func child(n *yaml.Node, key string) *yaml.Node { return childAt(n, key, 0) }

func childAt(n *yaml.Node, key string, depth int) *yaml.Node {
	if n = follow(n); n == nil || n.Kind != yaml.MappingNode || depth > maxDepth {
		return nil
	}
	var merged *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], follow(n.Content[i+1])
		if k.ShortTag() != "!!merge" {
			if k.Value == key {
				return v
			}
			continue
		}
		for _, m := range append([]*yaml.Node{v}, items(v)...) {
			if found := childAt(m, key, depth+1); found != nil && merged == nil {
				merged = found
			}
		}
	}
	return merged
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	var out []*yaml.Node
	for _, e := range n.Content {
		out = append(out, follow(e))
	}
	return out
}
