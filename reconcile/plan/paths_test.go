package plan

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSameUUID: two UUIDs are one exactly when a guest would show the same serial number for them.
func TestSameUUID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.StringOf(rapid.SampledFrom([]rune("aA0-  bKk\u212aéè")))
		a, b := some.Draw(t, "a"), some.Draw(t, "b")
		if sameUUID(a, b) != (SerialOf(a) == SerialOf(b)) || !sameUUID(a, SerialOf(a)) {
			t.Fatalf("%q %q", a, b)
		}
	})
}
