package plan

import "testing"

// BenchmarkCompute plans and checks the roll of a large fleet.
func BenchmarkCompute(b *testing.B) {
	d := wish(200, "docker")
	o := fleetOf(d, oldDigest)
	for b.Loop() {
		if err := Check(Compute(d, o, t0), o); err != nil {
			b.Fatal(err)
		}
	}
}
