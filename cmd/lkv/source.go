package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/images"
	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/specs"
)

const insecureUsage = "speak plain HTTP, or TLS without verifying it, to the registry `HOST:PORT`"

// source returns where images come from, pinned by the lock file, under the rules of the spec's registry blocks.
func (s system) source(c *cli.Context, spec specs.Spec, p *ui.Progress) (*images.Source, error) {
	cache, err := s.openCache(c)
	if err != nil {
		return nil, err
	}
	lock, err := images.ReadLock(lockPath(spec))
	if err != nil {
		return nil, err
	}
	rules, err := registryRules(spec)
	if err != nil {
		return nil, err
	}
	follow := &fetches{p: p, items: map[string]*ui.Item{}}
	src := &images.Source{
		Cache: cache, Lock: lock, Locked: given(c, "locked"), Offline: given(c, "offline"), Insecure: texts(c, "insecure"),
		Rules: rules, Progress: follow.show,
	}
	src.Platform.OS, src.Platform.Architecture = "linux", "amd64"
	return src, nil
}

// registryRules reads the keys that the registry blocks name.
func registryRules(spec specs.Spec) ([]images.Rule, error) {
	var rules []images.Rule
	for _, r := range spec.Registries {
		rule := images.Rule{Pattern: r.Pattern, Mirrors: r.Mirrors, Insecure: r.Insecure}
		for _, name := range r.CosignKeys {
			b, err := os.ReadFile(beside(spec, name))
			if err != nil {
				return nil, fmt.Errorf("registry %q at %s: read key: %w", r.Pattern, r.Pos, err)
			}
			key, err := images.ParseKey(name, b)
			if err != nil {
				return nil, fmt.Errorf("registry %q at %s: %w", r.Pattern, r.Pos, err)
			}
			rule.Keys = append(rule.Keys, key)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// fetches shows images on their way from a registry, one item per image.
type fetches struct {
	p *ui.Progress

	mu    sync.Mutex
	items map[string]*ui.Item // by reference
}

func (f *fetches) show(e images.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	item := f.items[e.Ref]
	if item == nil {
		item = f.p.Start("fetch "+e.Ref, e.Total)
		f.items[e.Ref] = item
	}
	item.Set(e.Done)
	if e.Done == e.Total {
		item.Done(ui.Bytes(e.Total))
	}
}
