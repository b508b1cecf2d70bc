package build

import (
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// suggest names the known key a misspelled one is nearest to, or nothing when none is near.
func suggest(key string, o object) string {
	best, at := "", len(key)/2+1
	for _, k := range slices.Sorted(maps.Keys(o)) {
		if d := distance(key, k); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance counts the edits between two names: a character more, less or changed, or two neighbours swapped.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := range len(a) {
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(rows[i][j]+cost, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(a)][len(b)]
}

func inside(where string) string {
	if where == "" {
		return ""
	}
	return fmt.Sprintf(" in %q", where)
}

func orFile(where string) string {
	if where == "" {
		return "the file"
	}
	return fmt.Sprintf("%q", where)
}

func first(o object) string { return slices.Min(slices.Collect(maps.Keys(o))) }

func kindName(k kind) string {
	switch k {
	case aBool:
		return "true or false"
	case anInt:
		return "a whole number"
	case anID:
		return "a number or a name"
	}
	return "a string"
}

// describeNode says what a value is, in the words of YAML's users.
func describeNode(n *yaml.Node) string {
	n = follow(n)
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	}
	return fmt.Sprintf("%q", n.Value)
}
