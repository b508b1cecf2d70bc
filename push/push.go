package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lkv-io/lkv/internal/manifest"
)

// How an ISO came to a store.
const (
	Uploaded = "upload"
	Copied   = "server-copy"
	Already  = "present"
)

// How an ISO on a store is verified. Whatever is uploaded is hashed on its way besides.
const (
	Full   = "full"   // read back whole and hashed
	Sample = "sample" // size, and samples at places that follow from the digest, compared with the ISO here
	Size   = "size"   // size only
)

// atOnce is how many stores are served at the same time.
const atOnce = 4

// Input is one push, complete: besides what lies beside the ISO nothing else is read.
type Input struct {
	Image    string // name of the image block
	ISO      string // path of the ISO on this machine; SBOMs, provenance and signatures lie beside it
	Manifest []byte // the manifest as lkv build wrote it
	Stores   []Store
	Channel  string    // channel that is moved afterwards; empty: none
	Verify   string    // Full, Sample or Size; empty: Sample
	Reserve  int64     // bytes that must stay free on a store; 0: 1 GiB
	Owner    string    // who pushes, stable over runs (host name and directory): its leftovers are removed
	Nonce    string    // random, different for every push
	Now      time.Time // written into the channel

	Sleep    func(context.Context, time.Duration) error // between tries; nil: nothing is tried again
	Stall    time.Duration                              // a transfer on which nothing moves for so long is cut; 0: 5 minutes
	Progress func(Progress)                             // may be nil; called from several goroutines
}

// Phases of a push to one store.
const (
	PhaseUpload = "upload"
	PhaseCopy   = "copy" // on the server: Done is 0 until it is Total
	PhaseVerify = "verify"
	PhaseWait   = "wait" // before the next try; Err says why, Done and Total are 0
)

// Progress is how far one store is.
type Progress struct {
	Store string
	Phase string
	Done  int64         // bytes; smaller than before when a transfer begins again
	Total int64         // bytes
	Wait  time.Duration // PhaseWait only
	Err   error         // PhaseWait: what is tried again; PhaseCopy: why an upload follows
}

// Result is what happened on one store.
type Result struct {
	Image         string `json:"image"`
	Store         string `json:"store"`
	Path          string `json:"path"`                 // "[ds] lkv/worker/<sha256>.iso"
	SHA256        string `json:"sha256"`               // 64 hex digits
	BytesUploaded int64  `json:"bytes_uploaded"`       // of the ISO that left this machine for this store, over all tries
	How           string `json:"how"`                  // Uploaded, Copied or Already
	Verified      string `json:"verified"`             // Full, Sample or Size: what was really done
	CopyError     string `json:"copy_error,omitempty"` // why it was uploaded although a copy was possible
}

// Push brings the ISO and what describes it to every store and then, only when every store has it, moves the channel
// on each. A store that fails does not keep the others from getting theirs. Results are in the order of the stores; on
// an error they hold what was done. An ISO that is there already is not uploaded again, and of stores that copy from
// one another only the first gets an upload.
func Push(ctx context.Context, in Input) ([]Result, error) {
	m, err := in.check()
	if err != nil {
		return nil, err
	}
	documents, err := in.documents(m)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", in.Image, err)
	}
	f, err := os.Open(in.ISO)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", in.Image, err)
	}
	defer func() { _ = f.Close() }() // only read
	jobs := make([]*job, len(in.Stores))
	for i, s := range in.Stores {
		jobs[i] = in.job(s, m, f)
	}
	each(jobs, func(j *job) error { return sweep(ctx, j.store, in.pusher(), in.Image, in.Now) }) // all before the first upload
	each(jobs, func(j *job) error { return j.prepare(ctx, documents) })
	var all errgroup.Group
	all.SetLimit(atOnce)
	for _, g := range groups(jobs) {
		all.Go(func() error { g.share(ctx); return nil })
	}
	_ = all.Wait() // errors are in the jobs
	var results []Result
	var errs []error
	for _, j := range jobs {
		if j.err != nil {
			errs = append(errs, fmt.Errorf("push %s to store %s: %w", in.Image, j.store.Name(), j.err))
		} else {
			j.res.Path = j.store.Path(j.final) // a store may choose it
			results = append(results, j.res)
		}
	}
	if len(errs) > 0 || in.Channel == "" {
		return results, errors.Join(errs...)
	}
	p := Promotion{Image: in.Image, Digest: m.ISO.SHA256, Channel: in.Channel, Owner: in.Owner, Nonce: in.Nonce, Now: in.Now}
	for _, j := range jobs {
		p.Stores = append(p.Stores, j.store)
	}
	return results, Promote(ctx, p)
}

// each does something on the stores that had no error so far, several at a time.
func each(jobs []*job, do func(*job) error) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, j := range jobs {
		if j.err == nil {
			group.Go(func() error { j.err = do(j); return nil })
		}
	}
	_ = group.Wait() // errors are in the jobs
}

// check reads the manifest and refuses what would only fail after a long upload.
func (in Input) check() (manifest.Manifest, error) {
	if err := checkName("image", in.Image); err != nil {
		return manifest.Manifest{}, err
	}
	if in.Channel != "" {
		if err := checkName("channel", in.Channel); err != nil {
			return manifest.Manifest{}, err
		}
	}
	switch in.Verify {
	case "", Full, Sample, Size:
	default:
		return manifest.Manifest{}, fmt.Errorf("verify %q: write %s, %s or %s", in.Verify, Full, Sample, Size)
	}
	m, err := manifest.Read(bytes.NewReader(in.Manifest))
	if err != nil {
		return m, fmt.Errorf("push %s: %w", in.Image, err)
	}
	if !isDigest(m.ISO.SHA256) {
		return m, fmt.Errorf("push %s: manifest has digest %q, want 64 hex digits: build the image again", in.Image, m.ISO.SHA256)
	}
	info, err := os.Stat(in.ISO)
	if err != nil {
		return m, fmt.Errorf("push %s: %w: run lkv build first", in.Image, err)
	}
	if info.Size() != m.ISO.Size {
		return m, fmt.Errorf("push %s: %s has %d bytes, its manifest says %d: build the image again", in.Image, in.ISO, info.Size(), m.ISO.Size)
	}
	return m, nil
}

func (in Input) pusher() pusher { return pusher{in.Owner, in.Nonce} }

// job is the ISO and one store.
type job struct {
	Input
	store patient
	m     manifest.Manifest
	iso   io.ReaderAt
	final string
	there bool // the ISO is on the store
	res   Result
	err   error
}

func (in Input) job(s Store, m manifest.Manifest, iso io.ReaderAt) *job {
	j := &job{Input: in, m: m, iso: iso, final: ISOPath(in.Image, m.ISO.SHA256)}
	j.store = patient{Store: s, sleep: in.Sleep, stall: in.Stall, tell: func(err error, d time.Duration) {
		j.tell(Progress{Phase: PhaseWait, Err: err, Wait: d})
	}}
	j.res = Result{Image: in.Image, Store: s.Name(), Path: s.Path(j.final), SHA256: m.ISO.SHA256}
	return j
}

func (j *job) tell(p Progress) {
	if j.Progress != nil {
		p.Store = j.store.Name()
		j.Progress(p)
	}
}

// prepare looks whether the ISO is there, and puts everything that describes it in place, the manifest last.
func (j *job) prepare(ctx context.Context, documents []document) (err error) {
	if j.there, err = j.present(ctx); err != nil {
		return err
	}
	if j.there {
		j.res.How = Already
	} else if err := j.room(ctx); err != nil {
		return err
	}
	for _, d := range documents {
		if err := putSmall(ctx, j.store, j.pusher(), besidePath(j.Image, j.m.ISO.SHA256, d.ending), d.raw); err != nil {
			return err
		}
	}
	return nil
}
