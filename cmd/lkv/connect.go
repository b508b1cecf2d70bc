package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/lkv-io/lkv/push"
	"github.com/lkv-io/lkv/reconcile/vsphere"
	"github.com/lkv-io/lkv/specs"
)

// connection says how to reach the vCenter of a block, filled up from the environment. An empty name means no block.
func (s system) connection(spec specs.Spec, name string) (vsphere.Config, error) {
	block, _ := spec.VCenter(name)
	cfg := vsphere.Config{
		URL: block.URL, Username: block.Username, Thumbprint: block.Thumbprint, Insecure: block.Insecure, UserAgent: "lkv/" + s.Version,
	}
	if block.CAFile != "" {
		cfg.CAFile = inDir(spec.Dir, block.CAFile)
	}
	var err error
	if cfg.Password, err = block.Password.Reveal(); err != nil {
		return cfg, err
	}
	if err := s.fromEnv(&cfg); err != nil {
		return cfg, err
	}
	switch {
	case cfg.URL == "":
		return cfg, usagef("no vCenter: write a vcenter block with url, or set LKV_VCENTER_URL or GOVC_URL")
	case cfg.Username == "" || cfg.Password == "":
		return cfg, usagef("no credentials for %s: set LKV_VCENTER_USERNAME and LKV_VCENTER_PASSWORD or LKV_VCENTER_PASSWORD_FILE, or write username and password = secret_file(\"…\") into the vcenter block", cfg.URL)
	}
	return cfg, nil
}

// fromEnv fills empty fields from LKV_VCENTER_*, then from govc's variables.
func (s system) fromEnv(cfg *vsphere.Config) error {
	govc := false
	if cfg.URL == "" {
		if cfg.URL = s.Env["LKV_VCENTER_URL"]; cfg.URL == "" {
			cfg.URL, govc = s.Env["GOVC_URL"], true
		}
		if err := takeUser(cfg); err != nil {
			return err
		}
	}
	password := s.Env["LKV_VCENTER_PASSWORD"]
	if file := s.Env["LKV_VCENTER_PASSWORD_FILE"]; file != "" && password == "" && cfg.Password == "" {
		var err error
		if password, err = specs.SecretFile(file).Reveal(); err != nil {
			return err
		}
	}
	cfg.Username = first(cfg.Username, s.Env["LKV_VCENTER_USERNAME"], s.Env["GOVC_USERNAME"])
	cfg.Password = first(cfg.Password, password, s.Env["GOVC_PASSWORD"])
	if cfg.CAFile != "" || cfg.Thumbprint != "" || cfg.Insecure {
		return nil
	}
	cfg.CAFile = first(s.Env["LKV_VCENTER_CA_FILE"], s.Env["GOVC_TLS_CA_CERTS"])
	cfg.Thumbprint = s.Env["LKV_VCENTER_THUMBPRINT"]
	cfg.Insecure = truth(s.Env["LKV_VCENTER_INSECURE"]) || govc && truth(s.Env["GOVC_INSECURE"]) // never govc's for another address
	return nil
}

// takeUser moves user name and password out of the URL.
func takeUser(cfg *vsphere.Config) error {
	if cfg.URL == "" {
		return nil
	}
	raw := cfg.URL
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" { // the error would show a password
		return usagef("LKV_VCENTER_URL or GOVC_URL is no address: write https://vcenter.example.net")
	}
	if u.User != nil {
		cfg.Username = first(cfg.Username, u.User.Username())
		if p, ok := u.User.Password(); ok {
			cfg.Password = first(cfg.Password, p)
		}
		u.User = nil
	}
	cfg.URL = u.String()
	return nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func truth(v string) bool { return v == "1" || strings.EqualFold(v, "true") }

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// sessions holds one session per vCenter for the time of a command.
type sessions struct {
	s    system
	spec specs.Spec
	log  *slog.Logger
	open map[string]*vsphere.Client
	away map[string]error // vCenters that gave no session: they are asked once
	out  map[string]error // those of them that no placement needs, which was said
	sent atomic.Int64     // calls that change something
	who  string           // owner of the claims of this run

	fetch   *fetcher                   // nil: nothing is fetched from a registry
	choices map[string]*vsphere.Choice // of datastores, by what a placement says
}

func (s system) sessions(spec specs.Spec, log *slog.Logger) *sessions {
	return &sessions{s: s, spec: spec, log: log, open: map[string]*vsphere.Client{}, away: map[string]error{}, out: map[string]error{}, choices: map[string]*vsphere.Choice{}}
}

// client returns the session with the vCenter of a block.
func (x *sessions) client(ctx context.Context, name string) (*vsphere.Client, error) {
	if c := x.open[name]; c != nil {
		return c, nil
	}
	if err := cmp.Or(x.away[name], x.s.absent.of(name, x.s.Now())); err != nil {
		return nil, err
	}
	cfg, err := x.s.connection(x.spec, name)
	if err != nil {
		return nil, err
	}
	if cfg.Insecure {
		x.s.note("lkv: warning: the certificate of %s is not verified (insecure)\n", cfg.URL)
	}
	cfg.Trace = func(method string, mutating bool) {
		x.log.Debug("vCenter", "call", method, "mutating", mutating)
		if mutating {
			x.sent.Add(1)
		}
		if x.s.monitor != nil {
			x.s.monitor.Call(method, mutating)
		}
	}
	c, err := vsphere.Connect(ctx, cfg)
	if err != nil && ctx.Err() == nil {
		err = &unanswered{name, err} // it names the address
		x.away[name] = err
	}
	x.s.absent.note(name, err, x.s.Now())
	if err != nil {
		return nil, err
	}
	x.log.Debug("connected", "url", cfg.URL, "to", c.About())
	if x.s.journal != nil {
		c.Record(x.s.journal.w)
	}
	x.open[name] = c
	return c, nil
}

// store returns a store of the spec that VMs can boot from.
func (x *sessions) store(ctx context.Context, st specs.Store) (push.Store, error) {
	if st.Kind() == specs.RegistryStore {
		return nil, usagef("store %s at %s: this version cannot use a %s here", st.Name, st.Pos, st.Kind())
	}
	c, err := x.client(ctx, st.VCenter)
	if err != nil {
		return nil, err
	}
	if st.Kind() == specs.LibraryStore {
		return c.Library(ctx, vsphere.LibraryConfig{Name: st.Name, Datacenter: st.Datacenter, Library: st.Library})
	}
	return c.Store(ctx, vsphere.StoreConfig{Name: st.Name, Datacenter: st.Datacenter, Datastore: st.Datastore, Folder: st.Folder, Transport: st.Transport})
}

// close logs out everywhere, also after the context has ended.
func (x *sessions) close(ctx context.Context) error {
	var errs []error
	for _, c := range x.open {
		errs = append(errs, c.Close(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// owner is who this run is to others: the same for every run of one checkout on one machine.
func (s system) owner(spec specs.Spec) (string, error) {
	dir, err := filepath.Abs(spec.Dir)
	if err != nil {
		return "", fmt.Errorf("find directory of the spec: %w", err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return s.Host + ":" + dir, nil
}

// nonce returns 16 random hexadecimal digits.
func (s system) nonce() (string, error) {
	b := make([]byte, 8)
	if _, err := s.Rand.Read(b); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return fmt.Sprintf("%x", b), nil
}

// readFile reads a file that a command needs, and says which one is missing.
func readFile(what, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return b, nil
}
