package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Lab is a running vCenter.
type Lab struct {
	cfg    Config
	model  *simulator.Model
	inv    inventory
	server *http.Server
	url    url.URL
	tls    identity
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	net    *networks
	ctl    *control
	hosts  hostFiles
	lock   *os.File

	closing sync.Once
	closed  error

	mu sync.Mutex // held while a call changes files, disks or configurations

	vmMu sync.Mutex // guards the maps below; never held while waiting
	vms  map[types.ManagedObjectReference]*machine
	wg   sync.WaitGroup // goroutines that follow machines

	journal journal
	hook    hook
	watch   watch
	asked   questions
	dead    deadSessions
	logMu   sync.Mutex
}

// Start builds the inventory, listens and returns a lab that is ready for clients. It runs until Close.
func Start(ctx context.Context, cfg Config) (*Lab, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start lab: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start lab: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start lab: %w", err)
	}
	l := &Lab{lock: lock, cfg: cfg, vms: map[types.ManagedObjectReference]*machine{}}
	l.ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := l.start(ctx); err != nil {
		return nil, fmt.Errorf("start lab: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// lockDir makes sure that one lab at a time uses a directory. The lock ends with the process at the latest.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lab.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a file descriptor is small
		return nil, errors.Join(fmt.Errorf("another lab runs in %s: end it first, or use another directory: %w", dir, err), f.Close())
	}
	return f, nil
}

func (l *Lab) start(ctx context.Context) error {
	if err := os.RemoveAll(filepath.Join(l.cfg.Dir, "machines")); err != nil { // of VMs that ended with an earlier lab
		return err
	}
	if err := l.build(ctx); err != nil {
		return err
	}
	l.watch.start()
	var err error
	if l.net, err = newNetworks(l.ctx, l.logf); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.cfg.Listen)
	if err != nil {
		return err
	}
	if err := l.serve(listener); err != nil {
		return errors.Join(err, listener.Close())
	}
	if l.cfg.HostFiles {
		if err := l.serveHosts(ctx); err != nil {
			return err
		}
	}
	l.ctl, err = l.startControl()
	return err
}

// Close cuts the power of every machine, stops listening and keeps the files. Closing again does nothing.
func (l *Lab) Close() error {
	l.closing.Do(func() { l.closed = l.shut() })
	return l.closed
}

func (l *Lab) shut() error {
	l.stop()
	var errs []error
	if l.ctl != nil {
		errs = append(errs, l.ctl.close())
	}
	if l.server != nil {
		errs = append(errs, l.server.Close())
	}
	errs = append(errs, l.hosts.close())
	for _, m := range l.running() {
		m.Kill()
	}
	l.wg.Wait()
	if l.net != nil {
		l.net.close()
	}
	if l.model != nil {
		l.model.Remove()
	}
	errs = append(errs, l.lock.Close())
	return errors.Join(errs...)
}

// URL is the SDK's address, without credentials.
func (l *Lab) URL() string { return l.url.String() }

// CAFile is a PEM file with the certificate authority that signed the server's certificate.
func (l *Lab) CAFile() string { return l.tls.caFile }

// Thumbprint is the SHA-256 thumbprint of the server's certificate, in upper-case hex pairs with colons.
func (l *Lab) Thumbprint() string { return l.tls.thumbprint }

// Credentials are the user name and password that log in.
func (l *Lab) Credentials() (username, password string) { return l.cfg.Username, l.cfg.Password }

// Env is the environment with which lkv and govc find this lab.
func (l *Lab) Env() map[string]string {
	return map[string]string{
		"LKV_VCENTER_URL": l.URL(), "LKV_VCENTER_USERNAME": l.cfg.Username, "LKV_VCENTER_PASSWORD": l.cfg.Password,
		"GOVC_URL": l.URL(), "GOVC_USERNAME": l.cfg.Username, "GOVC_PASSWORD": l.cfg.Password,
		"GOVC_TLS_CA_CERTS": l.CAFile(), "GOVC_INSECURE": "false", "LKV_LAB": l.cfg.Dir,
	}
}

// DatastoreDir is the directory with a datastore's files.
func (l *Lab) DatastoreDir(dc, ds string) string {
	return filepath.Join(l.cfg.Dir, "datastores", dc, ds)
}

func (l *Lab) logf(format string, args ...any) {
	l.logMu.Lock()
	defer l.logMu.Unlock()
	fmt.Fprintf(l.cfg.Log, "lab: "+format+"\n", args...)
}
