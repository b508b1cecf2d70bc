package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/plan"
	"github.com/lkv-io/lkv/specs"
)

func (s system) pushCommand() *cli.Command {
	return &cli.Command{
		Name: "push", Usage: "bring the newest ISO of each image to every store, verified, once per content; then move the channel",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "image", Usage: "push only the image `NAME`; may be repeated"},
			&cli.StringSliceFlag{Name: "store", Usage: "push only to the store `NAME`; may be repeated"},
			&cli.StringFlag{Name: "channel", Value: "latest", Usage: "move the channel `NAME` afterwards"},
			&cli.StringFlag{Name: "out", Value: "dist", Usage: "`DIR` that lkv build wrote into"},
			&cli.StringFlag{Name: "verify", Value: push.Sample, Usage: "check every ISO on its store by `LEVEL` full (read back whole), sample (size and samples) or size; what is uploaded is hashed on its way besides"},
			&cli.StringFlag{Name: "reserve", Value: "1GiB", Usage: "refuse to leave less than `SIZE` free on a store"},
			&cli.BoolFlag{Name: "from-registry", Usage: "bring what the channel names on the registry store to the other stores, instead of what lkv build wrote"},
			&cli.StringFlag{Name: "digest", Usage: "with --from-registry: bring the ISO with the digest `sha256:…`, not the channel's"},
			&cli.StringSliceFlag{Name: "insecure", Usage: insecureUsage},
			journalFlag(),
		},
		Action: s.push,
	}
}

func (s system) push(c *cli.Context) error {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	if given(c, "from-registry") {
		return s.pull(c, spec)
	}
	if given(c, "digest") || c.String("digest") != "" {
		return usagef("--digest belongs to --from-registry: without it the newest ISO of lkv build is pushed")
	}
	inputs, err := s.pushInputs(c, spec)
	if err != nil {
		return err
	}
	chosen, err := pick(c, "store", "store", spec.Stores, func(v specs.Store) string { return v.Name })
	if err != nil {
		return err
	}
	progress := s.progress(c)
	defer progress.Wait()
	v, rest, err := s.shelves(c, spec, chosen)
	if err != nil {
		return err
	}
	var doc pushed
	err = s.toStores(c, spec, rest, func(stores []push.Store) error {
		return doc.each(inputs, func(in push.Input) ([]push.Result, error) {
			follow := &uploads{p: progress, image: in.Image, items: map[string]*ui.Item{}}
			in.Stores, in.Progress = stores, follow.show
			done, err := pushOne(c.Context, in, v)
			follow.end(err)
			return done, err
		})
	})
	progress.Wait()
	return s.printPushed(c, doc, err)
}

// toStores connects stores that VMs boot from, for something that writes to them: with a journal, unless there are none.
func (s system) toStores(c *cli.Context, spec specs.Spec, list []specs.Store, do func([]push.Store) error) error {
	if len(list) == 0 {
		return do(nil)
	}
	return s.journaled(c, func(s system) (err error) {
		x := s.sessions(spec, s.logger(c))
		defer func() { err = errors.Join(err, x.close(c.Context)) }()
		stores, err := x.stores(c.Context, list)
		if err != nil {
			return err
		}
		return do(stores)
	})
}

// pushOne brings one ISO everywhere, registries first: whoever watches a channel on a datastore may find the ISO there.
// No channel moves unless every store has the ISO.
func pushOne(ctx context.Context, in push.Input, v shelves) ([]push.Result, error) {
	channel := in.Channel
	results, err := v.put(ctx, in, in.Progress)
	if err != nil {
		in.Channel = ""
	}
	if len(in.Stores) > 0 {
		more, perr := push.Push(ctx, in)
		results, err = append(results, more...), errors.Join(err, perr)
	}
	if err != nil || len(v.list) == 0 {
		return results, err
	}
	return results, v.promote(ctx, push.Promotion{Image: in.Image, Digest: results[0].SHA256, Channel: channel, Now: in.Now})
}

// reads is how often a command that only reads asks a store the same: 7 s of pauses, while somebody waits for it.
const reads = 4

// patiently returns a store for reading.
func (s system) patiently(st push.Store) push.Store {
	return push.Patiently(st, reads, clock{s.Now}.Sleep)
}

// refusal gives errors of a push their refusal code.
func refusal(err error) error {
	switch {
	case errors.Is(err, push.ErrFull):
		return plan.Blocked{Code: "R21", Reason: err.Error(), Clear: "free space on the datastore, or name another one in the store block"}
	case errors.Is(err, images.ErrUnsigned):
		return plan.Blocked{Code: plan.R01, Reason: err.Error(), Clear: "sign it, or correct cosign_keys of the registry block"}
	}
	return err
}

// pushed is the JSON of push: what was done, also when not all of it was.
type pushed struct {
	Pushed  []push.Result `json:"pushed"`
	Channel string        `json:"channel"`
	Moved   []string      `json:"moved"`           // images whose channel stands at the ISO on every store
	From    string        `json:"from,omitempty"`  // the registry store that the ISOs come from
	Error   string        `json:"error,omitempty"` // why it ended early
}

// each pushes one image after the other until one fails, and notes what was done.
func (d *pushed) each(inputs []push.Input, one func(push.Input) ([]push.Result, error)) error {
	for _, in := range inputs {
		done, err := one(in)
		d.Pushed = append(d.Pushed, done...)
		if err != nil {
			return refusal(err)
		}
		d.Moved = append(d.Moved, in.Image)
	}
	return nil
}

// printPushed shows what a push did and returns the error that ended it, if any.
func (s system) printPushed(c *cli.Context, doc pushed, failed error) error {
	if failed != nil && len(doc.Pushed) == 0 {
		return failed
	}
	doc.Pushed, doc.Moved, doc.Channel = append([]push.Result{}, doc.Pushed...), append([]string{}, doc.Moved...), c.String("channel")
	if failed != nil {
		doc.Error = failed.Error()
	}
	print := s.printPushedText
	if given(c, "json") {
		print = func(d pushed) error { return s.printJSON(d) }
	}
	return cmp.Or(failed, print(doc))
}

func (s system) printPushedText(doc pushed) error {
	var rows [][]string
	for _, r := range doc.Pushed {
		rows = append(rows, []string{r.Image, r.Store, r.How, ui.Bytes(r.BytesUploaded), r.Verified, r.Path})
		if r.CopyError != "" {
			s.note("lkv: warning: %s got its own upload, because the copy on the server failed: %s\n", r.Store, r.CopyError)
		}
	}
	if err := ui.Table(s.Stdout, s.style(), []string{"IMAGE", "STORE", "HOW", "UPLOADED", "VERIFIED", "PATH"}, rows); err != nil {
		return err
	}
	text := fmt.Sprintf("channel %s moved", doc.Channel)
	switch {
	case doc.Error != "" && len(doc.Moved) == 0:
		text = fmt.Sprintf("channel %s not moved on every store", doc.Channel)
	case doc.Error != "":
		text += " for " + strings.Join(doc.Moved, ", ") + " only"
	}
	_, err := fmt.Fprintln(s.Stdout, text)
	return err
}

// pushInputs reads what there is to push, before anything is connected.
func (s system) pushInputs(c *cli.Context, spec specs.Spec) ([]push.Input, error) {
	chosen, err := pick(c, "image", "image", spec.Images, imageName)
	if err != nil {
		return nil, err
	}
	var list []push.Input
	for _, img := range chosen {
		in, err := s.pushInput(c, spec, img.Name)
		if err != nil {
			return nil, err
		}
		if in.ISO, err = newestISO(c.String("out"), img.Name); err != nil {
			return nil, err
		}
		if in.Manifest, err = readFile("manifest", strings.TrimSuffix(in.ISO, ".iso")+".manifest.json"); err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return list, nil
}

// pushInput is what flags and the world say about the push of one image.
func (s system) pushInput(c *cli.Context, spec specs.Spec, image string) (push.Input, error) {
	reserve, err := specs.ParseSize(c.String("reserve"))
	if err != nil || reserve <= 0 {
		return push.Input{}, usagef("--reserve %s: write a size above zero, for example 1GiB", c.String("reserve"))
	}
	if level := c.String("verify"); !slices.Contains([]string{push.Full, push.Sample, push.Size}, level) {
		return push.Input{}, usagef("--verify %s: write %s, %s or %s", level, push.Full, push.Sample, push.Size)
	}
	in := push.Input{Image: image, Channel: c.String("channel"), Verify: c.String("verify"), Reserve: int64(reserve), Now: s.Now(), Sleep: clock{s.Now}.Sleep}
	if in.Owner, err = s.owner(spec); err != nil {
		return in, err
	}
	in.Nonce, err = s.nonce()
	return in, err
}

// uploads shows the phases of one push, one item per store.
type uploads struct {
	p     *ui.Progress
	image string

	mu    sync.Mutex
	items map[string]*ui.Item // by phase and store
}

func (u *uploads) show(e push.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := e.Phase + " " + u.image + " " + e.Store
	switch {
	case e.Phase == push.PhaseWait:
		u.p.Line("%s %s: %v; trying again in %s", u.image, e.Store, e.Err, ui.Duration(e.Wait))
		return
	case e.Err != nil:
		u.p.Line("%s: %v; uploading instead", key, e.Err)
		if item := u.items[key]; item != nil {
			item.Fail(e.Err)
		}
		return
	}
	item := u.items[key]
	if item == nil {
		total := e.Total
		if e.Phase == push.PhaseCopy { // the server does not say how far it is
			total = 0
		}
		item = u.p.Start(key, total)
		u.items[key] = item
	}
	item.Set(e.Done)
	if e.Done >= e.Total {
		item.Done(ui.Bytes(e.Total))
	}
}

// end closes what is still open after an error.
func (u *uploads) end(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, item := range u.items {
		if err != nil {
			item.Fail(errors.New("see below"))
		} else {
			item.Done("")
		}
	}
}
