package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

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
		},
		Action: s.push,
	}
}

func (s system) push(c *cli.Context) (err error) {
	spec, err := s.spec(c)
	if err != nil {
		return err
	}
	inputs, err := s.pushInputs(c, spec)
	if err != nil {
		return err
	}
	chosen, err := pick(c, "store", "store", spec.Stores, func(v specs.Store) string { return v.Name })
	if err != nil {
		return err
	}
	log := s.logger(c)
	progress := s.progress(c)
	defer progress.Wait()
	x := s.sessions(spec, log)
	defer func() { err = errors.Join(err, x.close(c.Context)) }()
	stores, err := x.stores(c.Context, chosen)
	if err != nil {
		return err
	}
	results, err := pushAll(c.Context, inputs, stores, progress)
	progress.Wait()
	if err != nil {
		return err
	}
	return s.printPushed(c, results)
}

func pushAll(ctx context.Context, inputs []push.Input, stores []push.Store, progress *ui.Progress) ([]push.Result, error) {
	var results []push.Result
	for _, in := range inputs {
		follow := &uploads{p: progress, image: in.Image, items: map[string]*ui.Item{}}
		in.Stores, in.Progress = stores, follow.show
		done, err := push.Push(ctx, in)
		follow.end(err)
		results = append(results, done...)
		if errors.Is(err, push.ErrFull) {
			return results, plan.Blocked{Code: "R21", Reason: err.Error(), Clear: "free space on the datastore, or name another one in the store block"}
		}
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

func (s system) printPushed(c *cli.Context, results []push.Result) error {
	if given(c, "json") {
		return s.printJSON(struct {
			Pushed  []push.Result `json:"pushed"`
			Channel string        `json:"channel"`
		}{append([]push.Result{}, results...), c.String("channel")})
	}
	var rows [][]string
	for _, r := range results {
		rows = append(rows, []string{r.Image, r.Store, r.How, ui.Bytes(r.BytesUploaded), r.Verified, r.Path})
		if r.CopyError != "" {
			s.note("lkv: warning: %s got its own upload, because the copy on the server failed: %s\n", r.Store, r.CopyError)
		}
	}
	if err := ui.Table(s.Stdout, s.style(), []string{"IMAGE", "STORE", "HOW", "UPLOADED", "VERIFIED", "PATH"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.Stdout, "channel %s moved\n", c.String("channel"))
	return err
}

// pushInputs reads what there is to push, before anything is connected.
func (s system) pushInputs(c *cli.Context, spec specs.Spec) ([]push.Input, error) {
	chosen, err := pick(c, "image", "image", spec.Images, imageName)
	if err != nil {
		return nil, err
	}
	owner, err := s.owner(spec)
	if err != nil {
		return nil, err
	}
	reserve, err := specs.ParseSize(c.String("reserve"))
	if err != nil || reserve <= 0 {
		return nil, usagef("--reserve %s: write a size above zero, for example 1GiB", c.String("reserve"))
	}
	if level := c.String("verify"); !slices.Contains([]string{push.Full, push.Sample, push.Size}, level) {
		return nil, usagef("--verify %s: write %s, %s or %s", level, push.Full, push.Sample, push.Size)
	}
	var list []push.Input
	for _, img := range chosen {
		iso, err := newestISO(c.String("out"), img.Name)
		if err != nil {
			return nil, err
		}
		m, err := readFile("manifest", strings.TrimSuffix(iso, ".iso")+".manifest.json")
		if err != nil {
			return nil, err
		}
		nonce, err := s.nonce()
		if err != nil {
			return nil, err
		}
		list = append(list, push.Input{
			Image: img.Name, ISO: iso, Manifest: m, Channel: c.String("channel"), Verify: c.String("verify"), Reserve: int64(reserve),
			Owner: owner, Nonce: nonce, Now: s.Now(), Sleep: clock{s.Now}.Sleep,
		})
	}
	return list, nil
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
