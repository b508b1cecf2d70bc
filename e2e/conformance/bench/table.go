package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Goals beside those of the scenarios.
const (
	memoryGoal = 150 << 20 // bytes
	sizeGoal   = 0.85      // ISO : LinuxKit's initrd
)

// table is what was measured.
type table struct {
	samples           map[string][][2]sample // LinuxKit, lkv
	initrd, iso, root int64                  // bytes
	kernel            int64                  // LinuxKit's, bytes; the ISO holds the same one
	best, bestPeak    int64                  // ISO and memory of --compress best
	bestWall          float64                // seconds
}

func (t table) print(w io.Writer) error {
	fmt.Fprintf(w, "Root file system %.0f MB. Medians; ratio is lkv : LinuxKit, median and range of the rounds. Images cached: "+
		"for both, gzip layers as a registry sends them, nothing unpacked.\n\n", float64(t.root)/1e6)
	fmt.Fprintf(w, "| what | LinuxKit s | lkv s | ratio | range | CPU ratio | lkv peak MiB | goal | |\n|---|---|---|---|---|---|---|---|---|\n")
	var peak, other int64
	for _, s := range scenarios {
		var rss int64
		var a, b, ratio, cpu []float64
		for _, p := range t.samples[s.name] {
			a, b = append(a, p[0].wall), append(b, p[1].wall)
			ratio, cpu = append(ratio, p[1].wall/p[0].wall), append(cpu, p[1].cpu/p[0].cpu)
			rss, other = max(rss, p[1].rss), max(other, p[0].rss)
		}
		peak = max(peak, rss)
		fmt.Fprintf(w, "| %s | %.2f | %.3f | %.4f | %.4f-%.4f | %.4f | %d | %.2f | %s |\n", s.name, median(a), median(b), median(ratio),
			slices.Min(ratio), slices.Max(ratio), median(cpu), rss>>20, s.goal, verdict(median(ratio) <= s.goal))
	}
	size := float64(t.iso) / float64(t.initrd)
	fmt.Fprintf(w, "| size: ISO : LinuxKit's initrd (%.1f : %.1f MB) | | | %.4f | | | | %.2f | %s |\n",
		float64(t.iso)/1e6, float64(t.initrd)/1e6, size, sizeGoal, verdict(size <= sizeGoal))
	boot := t.initrd + t.kernel
	fmt.Fprintf(w, "| the same : LinuxKit's initrd and kernel (%.1f MB); --compress best | | | %.4f | %.4f | | | | |\n",
		float64(boot)/1e6, float64(t.iso)/float64(boot), float64(t.best)/float64(boot))
	best := float64(t.best) / float64(t.initrd)
	fmt.Fprintf(w, "| size with --compress best (%.1f MB); its first build | | %.2f | %.4f | | | %d | %.2f | %s |\n",
		float64(t.best)/1e6, t.bestWall, best, t.bestPeak>>20, sizeGoal, verdict(best <= sizeGoal))
	_, err := fmt.Fprintf(w, "| peak memory MiB (highest of all runs) | %d | %d | %.4f | | | | %d MiB | %s |\n",
		other>>20, peak>>20, float64(peak)/float64(other), memoryGoal>>20, verdict(peak <= memoryGoal))
	return err
}

func verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "**missed**"
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// size is the newest file a pattern matches.
func size(dir, pattern string) (int64, error) {
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(list) == 0 {
		return 0, fmt.Errorf("no %s was built: %w", pattern, err)
	}
	var last os.FileInfo
	for _, p := range list {
		st, err := os.Stat(p)
		if err != nil {
			return 0, err
		}
		if last == nil || st.ModTime().After(last.ModTime()) {
			last = st
		}
	}
	return last.Size(), nil
}

// unpacked is the size of a gzip file's content.
func unpacked(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // read only
	z, err := gzip.NewReader(f)
	if err != nil {
		return 0, err
	}
	return io.Copy(io.Discard, z)
}
