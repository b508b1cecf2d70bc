package specs

import "testing"

// Every address that is taken, with what it becomes, and what is refused.
func TestListenAddress(t *testing.T) {
	for in, want := range map[string]string{
		":9180": "127.0.0.1:9180", "127.0.0.1:0": "127.0.0.1:0", "0.0.0.0:9180": "0.0.0.0:9180", "[::]:9180": "[::]:9180",
		"[::1]:80": "[::1]:80", "localhost:9180": "localhost:9180",
		"": "", "9180": "", "host": "", ":x": "", ":70000": "", "::1": "", "somewhere.example.net:9180": "", "127.1:9180": "", " :9180": "", "http://127.0.0.1:9180": "", ":": "",
	} {
		got, err := ListenAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}
