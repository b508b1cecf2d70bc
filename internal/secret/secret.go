// Package secret takes secrets out of texts that somebody else wrote before they reach a log, a record or a journal
// (invariant A13 of docs/safety.md): what a hook prints, what a guest reports, what a vCenter answers.
//
// Not supported: secrets that neither look like one nor stand in a variable whose name says so.
package secret

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// shape is what is known for a secret by its form: join tokens and unlock keys of Docker Swarm, private keys, passwords
// in URLs, and passwords or tickets that a message spells out.
var shape = regexp.MustCompile(`SWMTKN-[0-9]-[0-9A-Za-z-]+|SWMKEY-[0-9]-[0-9A-Za-z+/=]+|-----BEGIN [A-Z ]*PRIVATE KEY-----|` +
	`://[^/\s"@:]*:[^/\s"@]+@|(?i:\bpassword|\bpasswd|\bvmware_(?:soap_session|cgi_ticket))=[^\s"]+`)

// name is how a variable that holds a secret is called.
var name = regexp.MustCompile(`(?i)passw|secret|token|credential|private_?key|api_?key`)

// least is the length in bytes from which on a value is looked for; shorter ones would hit words by chance.
const least = 6

const instead = "(secret)"

// Redact takes out of a text what looks like a secret, and the known ones.
func Redact(text string, known ...string) string {
	for _, k := range known {
		text = strings.ReplaceAll(text, k, instead)
	}
	return shape.ReplaceAllString(text, instead)
}

// In tells whether something in a text looks like a secret.
func In(text []byte) bool { return shape.Match(text) }

// Of returns the values of those variables ("NAME=value") that hold secrets by their names, the longest first so that
// none hides a part of another. A name that ends in _FILE holds a path.
func Of(env []string) []string {
	var out []string
	for _, e := range env {
		n, value, _ := strings.Cut(e, "=")
		if len(value) >= least && name.MatchString(n) && !strings.HasSuffix(strings.ToUpper(n), "_FILE") {
			out = append(out, value)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(out)
}
