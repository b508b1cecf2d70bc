package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile/journal"
)

func (s system) verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check the journal of a finished run against the safety rules, without vCenter",
		ArgsUsage: "JOURNAL",
		Description: "Every rule is reported as holds, violated, or not visible here, with the lines that violate it (docs/journal.md).\n" +
			"Exit code 0: the file is whole, the run ended by itself, every call ended, nothing is violated. 1: anything else.",
		Action: s.verify,
	}
}

func (s system) verify(c *cli.Context) (err error) {
	if c.Args().Len() != 1 {
		return usagef("name one journal: lkv verify JOURNAL")
	}
	f, err := os.Open(c.Args().First())
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rep, err := journal.Verify(f)
	if err != nil {
		return err
	}
	if given(c, "json") {
		err = s.printJSON(struct {
			OK bool `json:"ok"`
			journal.Report
		}{rep.OK(), rep})
	} else {
		err = s.printVerified(rep)
	}
	if err == nil && !rep.OK() {
		return &exit{code: exitError}
	}
	return err
}

// printVerified prints for people what a journal shows. Nothing of the file may steer the terminal.
func (s system) printVerified(rep journal.Report) error {
	style := s.style()
	var rows [][]string
	for _, i := range rep.Invariants {
		state, detail := style.Good(string(i.State)), fmt.Sprintf("%s; looked at %d times", i.Says, i.Checked)
		switch i.State {
		case journal.Violated:
			state, detail = style.Bad(string(i.State)), i.Says
		case journal.Holds:
			if i.Checked == 0 {
				detail = i.Says + "; nothing of the kind happened"
			}
		case journal.Hidden:
			state, detail = style.Warn(string(i.State)), i.Why
		}
		rows = append(rows, []string{i.Code, state, strings.Map(printable, detail)})
		for _, f := range i.Found {
			rows = append(rows, []string{"", fmt.Sprintf("line %d", f.Line), strings.Map(printable, f.Why)})
		}
	}
	if err := ui.Table(s.Stdout, style, []string{"RULE", "STATE", "WHAT"}, rows); err != nil {
		return err
	}
	text := ""
	for _, u := range rep.Unfinished {
		text += style.Warn("unfinished") + strings.Map(printable, fmt.Sprintf(": %s of %s (line %d): its end is not known", u.Method, u.On, u.Line)) + "\n"
	}
	switch {
	case rep.Broken != "":
		text += style.Bad("broken") + ": " + strings.Map(printable, rep.Broken) + "; nothing behind that line was checked\n"
	case !rep.Closed:
		text += style.Bad("cut") + ": the last line is missing: the run was killed, or the file was cut\n"
	}
	word := style.Good("all that is visible holds")
	if !rep.OK() {
		word = style.Bad("not everything holds")
	}
	_, err := fmt.Fprintf(s.Stdout, "%s%d lines, %d calls: %s\n", text, rep.Lines, rep.Calls, word)
	return err
}
