package ui

import "regexp"

var longDigest = regexp.MustCompile(`\b([0-9a-f]{12})[0-9a-f]{52}\b`)

// Brief shortens every SHA-256 digest in a text for people to its first 12 digits, as file names and docker show it.
// JSON keeps them whole.
func Brief(text string) string { return longDigest.ReplaceAllString(text, "$1…") }
