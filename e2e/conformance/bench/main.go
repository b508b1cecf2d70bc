// Command bench builds one Docker host of 550 to 600 MB with stock LinuxKit's builder (kernel and initrd, the most it
// makes without Docker) and with lkv (a whole ISO), by turns in one run, and prints the ratios as a table.
//
//	LKV_BIN=dist/bin LKV_CACHE=dist/cache go run ./bench -rounds 3 -example ../../specs/examples/docker-host
//
// Both programs run as processes of their own with warm page caches and find their images as gzip layers, in no
// registry: lkv in its cache, LinuxKit in the shape it reads fastest. The disk is synced before every run.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lkv-io/lkv/e2e/conformance/oracle"
)

func main() {
	rounds := flag.Int("rounds", 3, "how often everything is built")
	example := flag.String("example", "../../specs/examples/docker-host", "directory of docker-host.yml")
	child := flag.Bool("linuxkit", false, "build with LinuxKit in the current directory (the benchmark calls itself)")
	flag.Parse()
	var err error
	if *child {
		err = linuxkit()
	} else {
		err = run(*rounds, *example)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// linuxkit is one build of LinuxKit, in a process of its own as the linuxkit command would be.
func linuxkit() error {
	yaml, err := os.ReadFile(yamlName)
	if err != nil {
		return err
	}
	m, err := oracle.Config(yaml)
	if err != nil {
		return err
	}
	return oracle.KernelInitrd(m, filepath.Join("cache", "linuxkit"), ".", linuxkitBase)
}

func run(rounds int, example string) error {
	bin, cache := os.Getenv("LKV_BIN"), os.Getenv("LKV_CACHE")
	if bin == "" || cache == "" {
		return fmt.Errorf("set LKV_BIN to the directory with lkv and LKV_CACHE to the directory make components fills")
	}
	dir, err := os.MkdirTemp("", "lkv-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // scratch files
	b := &bench{dir: dir, service: "lkv/sshd:1", big: "lkv/docker:1"}
	if b.lkv, err = filepath.Abs(filepath.Join(bin, "lkv")); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.yaml, err = os.ReadFile(filepath.Join(example, "docker-host.yml")); err != nil {
		return err
	}
	if b.caches, err = oracle.NewCaches(filepath.Join(dir, "cache")); err != nil {
		return err
	}
	if err := b.caches.Copy(cache); err != nil {
		return err
	}
	img, err := agent(dir)
	if err != nil {
		return err
	}
	if err := b.caches.Add(agentRef, img); err != nil {
		return err
	}
	return b.all(rounds)
}
