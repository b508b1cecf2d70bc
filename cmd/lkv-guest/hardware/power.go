package hardware

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// From linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
)

// eventSize is the size of struct input_event on a 64-bit machine: two 8-byte times, type, code, value.
const eventSize = 24

// Buttons watches every input device that has a power key.
type Buttons struct {
	mu      sync.Mutex
	open    map[string]bool
	Pressed func() // called for every press, from a goroutine per device
}

// Scan opens the power buttons below dev ("/dev/input") that sys ("/sys/class/input") knows and that are not open yet.
func (b *Buttons) Scan(dev, sys string) {
	nodes, _ := filepath.Glob(filepath.Join(dev, "event*"))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[string]bool{}
	}
	for _, node := range nodes {
		keys, err := os.ReadFile(filepath.Join(sys, filepath.Base(node), "device/capabilities/key"))
		if b.open[node] || err != nil || !HasKey(string(keys), keyPower) {
			continue
		}
		f, err := os.Open(node)
		if err != nil {
			continue
		}
		b.open[node] = true
		go b.watch(node, f)
	}
}

func (b *Buttons) watch(node string, f *os.File) {
	defer func() {
		_ = f.Close()
		b.mu.Lock()
		delete(b.open, node)
		b.mu.Unlock()
	}()
	event := make([]byte, eventSize)
	for {
		if _, err := io.ReadFull(f, event); err != nil {
			return
		}
		if IsPress(event) {
			b.Pressed()
		}
	}
}

// IsPress tells whether a struct input_event says that the power key went down.
func IsPress(event []byte) bool {
	return len(event) == eventSize &&
		binary.LittleEndian.Uint16(event[16:]) == evKey &&
		binary.LittleEndian.Uint16(event[18:]) == keyPower &&
		binary.LittleEndian.Uint32(event[20:]) == 1
}

// HasKey reads a capability bitmap of sysfs: 64-bit words in hex, the highest first.
func HasKey(bitmap string, key int) bool {
	words := strings.Fields(bitmap)
	i := len(words) - 1 - key/64
	if i < 0 || i >= len(words) {
		return false
	}
	w, err := strconv.ParseUint(words[i], 16, 64)
	return err == nil && w&(1<<(key%64)) != 0
}
