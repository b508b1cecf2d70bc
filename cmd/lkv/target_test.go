package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lkv-io/lkv/specs"
)

// What a refusal prints moves the channel that the fleet follows, and no other; what a fleet pins moves none.
func TestPushingMovesTheFleetsChannel(t *testing.T) {
	pin := "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	follows, pins := specs.Fleet{Name: "f", Image: "host", Channel: "stable"}, specs.Fleet{Name: "f", Image: "host", Digest: pin}
	plain := &sessions{}
	registry := &sessions{spec: specs.Spec{Stores: []specs.Store{{Name: "reg", Registry: "reg.example.net/lkv"}}}}
	got := []string{plain.pushing(follows), plain.pushing(pins), registry.pushing(follows), registry.pushing(pins), rebuilding(follows), rebuilding(pins)}
	want := []string{
		"lkv push --image host --channel stable",
		"where lkv build made 0123456789ab (dist has the newest one): lkv push --image host --channel=",
		"lkv push --from-registry --image host --channel stable",
		"lkv push --from-registry --image host --digest " + pin + " --channel=",
		"lkv build --image host && lkv push --image host --channel stable",
		"lkv build --image host && lkv push --image host --channel=, and write its digest into fleet f",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
