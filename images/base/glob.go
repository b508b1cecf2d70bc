package base

import (
	"path"
	"strings"
)

// match reports whether name (a path) fits the pattern. In the pattern * and ? stay within one path element, as in
// path.Match, and an element ** stands for any number of elements, none included. A malformed pattern fits nothing.
func match(pattern, name string) bool {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

// matchParts compares element by element.
func matchParts(pat, name []string) bool {
	for len(pat) > 0 {
		if pat[0] == "**" {
			for skip := 0; skip <= len(name); skip++ {
				if matchParts(pat[1:], name[skip:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pat[0], name[0]); err != nil || !ok {
			return false
		}
		pat, name = pat[1:], name[1:]
	}
	return len(name) == 0
}

// matchAny reports whether name fits one of the patterns.
func matchAny[P ~string](patterns []P, name string) bool {
	for _, p := range patterns {
		if match(string(p), name) {
			return true
		}
	}
	return false
}
