package boot

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/report"
)

// repeat is how often the machine says why it does not boot: whoever opens the console later sees it too.
const repeat = 10 * time.Second

// starve is what a machine does whose image was not unpacked to its end: files are missing, and nobody knows which.
func (m *machine) starve(ctx context.Context) {
	meminfo, _ := os.ReadFile("/proc/meminfo")
	m.stand(ctx, starved(string(meminfo), imageOf(report.ImagePath)))
}

// stand starts nothing and says why until the machine is stopped. The power button works if its drivers are there:
// built in, loaded already, or unpacked before the gap.
func (m *machine) stand(ctx context.Context, why string) {
	m.modprobe(ctx, []string{"button", "evdev"})
	m.buttons.Scan("/dev/input", "/sys/class/input")
	m.warn(m.state.change(func(r *report.Report) {
		r.Image, r.BootID, r.State, r.Error = imageOf(report.ImagePath), bootID(), report.Failed, why
	}))
	for {
		m.console.Say("%s", why)
		select {
		case <-ctx.Done():
			return
		case <-time.After(repeat):
		}
	}
}

// starved is the message.
func starved(meminfo string, img report.Image) string {
	name := "its image"
	if img.Name != "" {
		name = "its image " + img.Name
	}
	text := fmt.Sprintf("this VM has too little memory for %s: the initrd was not unpacked completely, nothing is started", name)
	if total := memory(meminfo, "MemTotal"); total > 0 {
		text += fmt.Sprintf(" (usable memory %d MiB, left %d MiB)", total>>20, memory(meminfo, "MemFree")>>20)
	}
	return text + "; power it off and give it more RAM"
}

// memory reads one line of /proc/meminfo, in bytes; 0 when it is not there.
func memory(meminfo, key string) int64 {
	for line := range strings.Lines(meminfo) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 53)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
