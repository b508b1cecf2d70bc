package secret_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/internal/secret"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"join token", "join --token SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx 10.0.0.1:2377", "join --token (secret) 10.0.0.1:2377"},
		{"unlock key", "SWMKEY-1-7c37Cc8654o6p38HnroywCi19pllOnGtbdZEgtKxZu8", "(secret)"},
		{"URL", "GET https://u:s3cret@h/x", "GET https(secret)h/x"},
		{"spelled out", "Password=hunter2 refused", "(secret) refused"},
		{"private key", "-----BEGIN RSA PRIVATE KEY-----", "(secret)"},
		{"known", "login as root with swordfish!", "login as root with (secret)!"},
		{"nothing", "node wrk-01 has 3 tasks: https://h/x", "node wrk-01 has 3 tasks: https://h/x"},
	} {
		if got := secret.Redact(c.text, "swordfish"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOf(t *testing.T) {
	env := []string{"PATH=/usr/bin", "LKV_VCENTER_PASSWORD=hunter2hunter2", "GOVC_PASSWORD=hunter2hunter2", "API_TOKEN=hunter2", "TOKEN=abcde", "LKV_VCENTER_PASSWORD_FILE=/run/pass", "EMPTY_SECRET="}
	if diff := cmp.Diff([]string{"hunter2hunter2", "hunter2"}, secret.Of(env)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
