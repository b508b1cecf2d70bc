package vsphere_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
	"github.com/lkv-io/lkv/push"
)

// Pushes at the same moment, over sessions of their own, of one content and of two, by one owner and by two: no name is
// ever wrong, nothing is left, and one more push of each ends well.
func TestTwoPushesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	for _, contents := range []int{1, 2} {
		for _, owners := range []int{1, 2} {
			var inputs []push.Input
			for i := range 2 {
				in := r.both(r.connect(), append(bytes.Clone(small), byte(i%contents)))
				in.Owner, in.Nonce = fmt.Sprint(i%owners), fmt.Sprint(i)
				in.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
				inputs = append(inputs, in)
			}
			var all sync.WaitGroup
			ended := make([]error, len(inputs))
			for i, in := range inputs {
				all.Go(func() { _, ended[i] = push.Push(t.Context(), in) })
			}
			all.Wait()
			what := fmt.Sprintf("%d contents, %d owners", contents, owners)
			isos, failed := r.honest(what), 0
			for i, err := range ended {
				if err != nil {
					failed++
				}
				inputs[i].Nonce += "x"
				if _, err := push.Push(t.Context(), inputs[i]); err != nil {
					t.Errorf("%s: once more: %v", what, err)
				}
			}
			if n := r.honest(what); n != 2*contents {
				t.Errorf("%s: %d ISOs at the end", what, n)
			}
			for _, dc := range []string{"DC1", "DC2"} {
				if list := strings.Join(r.files(dc, "iso-nfs", "lkv"), " "); strings.Contains(list, ".lkv-part-") {
					t.Errorf("%s: left %s", what, list)
				}
			}
			t.Logf("%s: %d of 2 ended in an error, %d ISOs then", what, failed, isos)
			r.anew()
		}
	}
}

// A copy on the server fails, in all ways that its task and call can: the store gets an upload, and the result says why.
func TestEveryCopyFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, lab.Config{})
	faults := []lab.Fault{lab.FailTask, lab.Refuse, lab.Drop, lab.LoseReply, lab.Status(500), lab.Status(503), lab.Status(401)}
	for _, fault := range faults {
		in := r.both(r.c, small)
		r.lab.OnCall(func(c lab.Call) lab.Fault {
			if c.Method == "CopyDatastoreFile_Task" {
				return fault
			}
			return lab.None
		})
		got, err := push.Push(t.Context(), in)
		r.lab.OnCall(nil)
		if err != nil || len(got) != 2 || got[1].How != push.Uploaded || got[1].CopyError == "" || got[1].BytesUploaded != int64(len(small)) {
			t.Errorf("fault %d: %v %+v", fault, err, got)
		}
		r.afterwards(fmt.Sprintf("copy fault %d", fault), in, err)
	}
	t.Logf("%d of %d copies were made up for by an upload", len(faults), len(faults))
}
