package journal

import "regexp"

// secret are texts that must never stand in a journal (A13): join tokens and unlock keys of Docker Swarm, private keys,
// passwords in URLs, and passwords or tickets that somebody's message spells out.
var secret = regexp.MustCompile(`SWMTKN-[0-9]-[0-9A-Za-z-]+|SWMKEY-[0-9]-[0-9A-Za-z+/=]+|-----BEGIN [A-Z ]*PRIVATE KEY-----|` +
	`://[^/\s"@:]*:[^/\s"@]+@|(?i:\bpassword|\bpasswd|\bvmware_(?:soap_session|cgi_ticket))=[^\s"]+`)

// Redact takes out of a text what looks like a secret.
func Redact(text string) string { return secret.ReplaceAllString(text, "(secret)") }
