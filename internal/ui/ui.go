// Package ui shows things to people: plans, tables and progress. Colours and moving bars appear on a terminal only;
// everywhere else it writes plain lines that look the same in every run.
//
// Not supported: asking questions. No command of lkv waits for an answer on a terminal.
package ui

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Style says how to write. The zero value is plain text.
type Style struct{ Color bool }

// Colours that carry a meaning; each also has a sign or word, so that plain text says the same.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Bold marks a name.
func (s Style) Bold(text string) string { return s.paint(bold, text) }

// Good marks what is as it should be.
func (s Style) Good(text string) string { return s.paint(green, text) }

// Bad marks an error or refusal.
func (s Style) Bad(text string) string { return s.paint(red, text) }

// Warn marks what changes.
func (s Style) Warn(text string) string { return s.paint(yellow, text) }

// Faint marks what is only there to be looked up.
func (s Style) Faint(text string) string { return s.paint(faint, text) }

// Table writes rows under a header, columns two blanks apart, without trailing blanks.
func Table(w io.Writer, s Style, header []string, rows [][]string) error {
	width := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i := range min(len(row), len(width)) {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	line := func(row []string, paint func(string) string) error {
		var b strings.Builder
		for i := range min(len(row), len(width)) {
			b.WriteString(row[i] + strings.Repeat(" ", width[i]-utf8.RuneCountInString(row[i])+2))
		}
		_, err := fmt.Fprintln(w, paint(strings.TrimRight(b.String(), " ")))
		return err
	}
	if err := line(header, s.Bold); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	for _, row := range rows {
		if err := line(row, func(t string) string { return t }); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	return nil
}

// Bytes returns a size for people, for example "12.3 MiB".
func Bytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/(1<<10), 0
	for f >= 1023.95 && unit < 3 { // so that it never prints 1024.0 of the smaller unit
		f, unit = f/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %s", f, []string{"KiB", "MiB", "GiB", "TiB"}[unit])
}

// Duration returns a time span for people: tenths of a second below ten seconds, whole seconds above.
func Duration(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// Short returns the first 12 digits of a SHA-256, with or without "sha256:" before it.
func Short(digest string) string {
	d := strings.TrimPrefix(digest, "sha256:")
	return d[:min(12, len(d))]
}
