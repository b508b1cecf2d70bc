package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// group runs a command that only holds others: it shows help, or says which command was meant.
func group(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowSubcommandHelp(c)
	}
	var known []string
	for _, sub := range c.Command.Subcommands {
		known = append(known, sub.Names()...)
	}
	if len(known) == 0 {
		for _, cmd := range c.App.Commands {
			known = append(known, cmd.Names()...)
		}
	}
	word := c.Args().First()
	if strings.HasPrefix(word, "-") {
		return usagef("%s stands where a command is expected: see %s --help", word, c.App.HelpName)
	}
	return usagef("there is no command %q%s: see %s --help", word, suggestion(word, known), c.App.HelpName)
}

// onUsageError turns what the flag package says into a sentence with the nearest flag.
func onUsageError(c *cli.Context, err error, _ bool) error {
	msg := err.Error()
	if bad, ok := strings.CutPrefix(msg, "flag provided but not defined: -"); ok {
		bad = strings.TrimPrefix(bad, "-")
		var known []string
		flags := c.App.Flags
		if c.Command != nil && len(c.Command.Flags) > 0 {
			flags = c.Command.Flags
		}
		for _, f := range flags {
			known = append(known, f.Names()...)
		}
		return usagef("there is no flag --%s%s: see %s --help", bad, suggestion(bad, known), strings.TrimSpace(c.App.HelpName+" "+commandName(c)))
	}
	return usagef("%s: see %s --help", msg, strings.TrimSpace(c.App.HelpName+" "+commandName(c)))
}

func commandName(c *cli.Context) string {
	if c.Command == nil || c.Command.Name == c.App.Name {
		return ""
	}
	return c.Command.Name
}

// refuseArguments guards against flags that the flag package would take for arguments and ignore: after the first
// argument it stops looking for flags, so `lkv x reconcile --plan` would apply.
func refuseArguments(c *cli.Context, positionals bool) error {
	for _, a := range c.Args().Slice() {
		if strings.HasPrefix(a, "-") {
			return usagef("%s stands after an argument and would be ignored: write flags before arguments", a)
		}
	}
	if !positionals && c.Args().Present() {
		return usagef("%q is not expected: %s takes no arguments, only flags: see %s --help", c.Args().First(), c.Command.HelpName, c.Command.HelpName)
	}
	return nil
}

// checkCommon refuses unknown values of the common flags, also where a command has no use for them.
func checkCommon(c *cli.Context) error {
	for name, known := range map[string][]string{"progress": {"auto", "plain", "none"}, "log-format": {"text", "json"}} {
		if v := text(c, name); v != "" && !slices.Contains(known, v) {
			return usagef("--%s %s: write %s", name, v, strings.Join(known, " or "))
		}
	}
	return nil
}

// suggestion returns ", did you mean …?" with the nearest known word, or "" when none is near.
func suggestion(word string, known []string) string {
	best, nearest := 3, ""
	for _, k := range known {
		if d := distance(word, k); d < best && d < len(k) {
			best, nearest = d, k
		}
	}
	if nearest == "" {
		return ""
	}
	return ", did you mean " + nearest + "?"
}

// distance is the Levenshtein distance: how many letters must be changed, added or removed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
