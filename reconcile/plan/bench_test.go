package plan

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// BenchmarkCompute plans and checks the roll of a large fleet: n waves of one VM.
func BenchmarkCompute(b *testing.B) {
	for _, n := range []int{200, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := wish(n, "docker")
			o := fleetOf(d, oldDigest)
			for b.Loop() {
				if err := Check(Compute(d, o, t0), o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheck is the checker's part of that.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{200, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := wish(n, "docker")
			o := fleetOf(d, oldDigest)
			p := Compute(d, o, t0)
			for b.Loop() {
				if err := Check(p, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkComputeCreation plans the making of a large fleet, which looks at every file for every VM.
func BenchmarkComputeCreation(b *testing.B) {
	d := wish(200, "docker")
	for b.Loop() {
		Compute(d, Observed{}, t0)
	}
}

// relooks follows a plan and compares what relook keeps with a whole look after every wave.
func relooks(t interface{ Fatalf(string, ...any) }, d Desired, o Observed) {
	o = o.Clone()
	f := fleet{want: d, have: &o, now: t0, limit: d.Rollout.MaxUnavailable}
	f.look()
	for n := range 4 * len(d.VMs) {
		w := f.next()
		for _, r := range w.Rolls {
			for _, s := range r.Steps {
				o.apply(s)
			}
		}
		f.relook(w)
		all := fleet{want: d, have: &o, now: t0, limit: d.Rollout.MaxUnavailable}
		if all.look(); !reflect.DeepEqual(all, f) {
			t.Fatalf("after wave %d %+v:\n%s\na whole look says:\n%s", n+1, w, kinds(f), kinds(all))
		}
	}
}

func TestRelookIsLook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genWish(t)
		o, _ := genHalfway(t, d, genWorld(t, d))
		relooks(t, d, o)
	})
}

// A VM that is made takes a file's name away from one that is made later.
func TestRelookSeesOthersFiles(t *testing.T) {
	d := wish(6, "docker")
	d.VMs[0].Disks[0].Name = "x-docker"
	d.VMs[5].Name = d.VMs[0].Name + "-x"
	relooks(t, d, Observed{})
	if p := Compute(d, Observed{}, t0); len(p.Waves) != 2 || len(p.Waves[1].Rolls) != 1 {
		t.Errorf("%+v", p)
	}
}

func kinds(f fleet) string {
	out := ""
	for _, m := range slices.Concat(f.members, f.extras) {
		out += fmt.Sprintf("%s kind %d up %v calm %v mine %v %v\n", m.want.Name, m.kind, m.up, m.calm, m.mine, m.steps)
	}
	return out
}
