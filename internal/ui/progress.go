package ui

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress modes.
const (
	Bars  = "bars"  // moving bars, for a terminal
	Plain = "plain" // one line per finished item
	None  = "none"
)

// Progress shows how long work goes on. Its methods may be called from several goroutines.
type Progress struct {
	mode string
	now  func() time.Time
	bars *mpb.Progress

	mu sync.Mutex
	w  io.Writer
}

// NewProgress returns a progress display in one of the modes. Wait must be called when all work is done.
func NewProgress(w io.Writer, mode string, now func() time.Time) *Progress {
	p := &Progress{mode: mode, now: now, w: w}
	if mode == Bars {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithAutoRefresh(), mpb.WithRefreshRate(150*time.Millisecond))
	}
	return p
}

// Item is one piece of work.
type Item struct {
	p     *Progress
	name  string
	start time.Time
	bar   *mpb.Bar

	mu       sync.Mutex
	done     int64
	finished bool
}

// Start shows a new piece of work. Total is in bytes; 0 when it is not known or not counted in bytes.
func (p *Progress) Start(name string, total int64) *Item {
	i := &Item{p: p, name: name, start: p.now()}
	if p.bars == nil {
		return i
	}
	counters := []decor.Decorator{decor.Elapsed(decor.ET_STYLE_MMSS)}
	if total > 0 {
		counters = []decor.Decorator{decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"), decor.AverageETA(decor.ET_STYLE_MMSS, decor.WC{W: 7})}
	}
	options := []mpb.BarOption{
		mpb.PrependDecorators(decor.Name(short(name)+" ", decor.WCSyncSpaceR)), mpb.AppendDecorators(counters...),
		mpb.BarRemoveOnComplete(), // the line that end writes takes its place
	}
	if total > 0 {
		i.bar = p.bars.AddBar(total, options...)
	} else {
		i.bar = p.bars.AddSpinner(0, options...)
	}
	return i
}

// short cuts a name so that a bar fits on its line.
func short(name string) string {
	const longest = 50
	if r := []rune(name); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return name
}

// Add counts n more bytes.
func (i *Item) Add(n int64) {
	i.mu.Lock()
	i.done += n
	i.mu.Unlock()
	if i.bar != nil {
		i.bar.IncrInt64(n)
	}
}

// Set says that n bytes are done altogether.
func (i *Item) Set(n int64) {
	i.mu.Lock()
	i.done = n
	i.mu.Unlock()
	if i.bar != nil {
		i.bar.SetCurrent(n)
	}
}

// Done ends the item with a note, for example what it made. Only the first of Done and Fail counts.
func (i *Item) Done(note string) { i.end("done", note) }

// Fail ends the item with the reason.
func (i *Item) Fail(err error) { i.end("failed", err.Error()) }

func (i *Item) end(word, note string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.finished {
		return
	}
	i.finished = true
	if i.bar != nil {
		if word == "done" {
			i.bar.SetTotal(-1, true) // the current value is the total: complete
		} else {
			i.bar.Abort(true)
		}
	}
	if note != "" {
		note = ": " + note
	}
	line := fmt.Sprintf("%s %s in %s%s\n", i.name, word, Duration(i.p.now().Sub(i.start)), note)
	switch i.p.mode {
	case Bars:
		_, _ = i.p.bars.Write([]byte(line)) // above the bars; what cannot be shown is no reason to fail
	case Plain:
		i.p.line(line)
	}
}

// Line shows one line of text above the bars.
func (p *Progress) Line(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	switch p.mode {
	case Bars:
		_, _ = p.bars.Write([]byte(line))
	case Plain:
		p.line(line)
	}
}

func (p *Progress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.w, text)
}

// Wait draws the last state. Items that were not ended are given up.
func (p *Progress) Wait() {
	if p.bars != nil {
		p.bars.Shutdown()
	}
}
