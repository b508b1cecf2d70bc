package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// completions returns the scripts by shell. They hold the words themselves, so that completing starts no program.
func completions(app *cli.App) map[string]string {
	var cases, fish strings.Builder
	walk(app.Commands, nil, func(path []string, c *cli.Command) {
		key := strings.Join(path, " ")
		var words []string
		for _, sub := range visible(c.Subcommands) {
			words = append(words, sub.Name)
		}
		if len(words) == 0 {
			words = flagWords(c.Flags)
		}
		fmt.Fprintf(&cases, "    %q) words=%q ;;\n", key, strings.Join(words, " "))
		seen := strings.Join(path[:len(path)-1], " ")
		condition := "__fish_use_subcommand"
		if seen != "" {
			condition = "__fish_seen_subcommand_from " + seen
		}
		fmt.Fprintf(&fish, "complete -c lkv -f -n %q -a %s -d %q\n", condition, c.Name, c.Usage)
	})
	var top []string
	for _, c := range visible(app.Commands) {
		top = append(top, c.Name)
	}
	bash := fmt.Sprintf(bashScript, strings.Join(append(top, flagWords(app.Flags)...), " "), cases.String())
	return map[string]string{"bash": bash, "zsh": "autoload -U +X bashcompinit && bashcompinit\n" + bash, "fish": fish.String()}
}

const bashScript = `_lkv() {
  local key="" word words=%q
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) key="${key:+$key }$word" ;; esac
  done
  case "$key" in
%s  esac
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _lkv lkv
`

// walk calls do for every visible command with its words.
func walk(list []*cli.Command, above []string, do func(path []string, c *cli.Command)) {
	for _, c := range visible(list) {
		path := append(append([]string{}, above...), c.Name)
		do(path, c)
		walk(c.Subcommands, path, do)
	}
}

func visible(list []*cli.Command) []*cli.Command {
	var out []*cli.Command
	for _, c := range list {
		if !c.Hidden && c.Name != "help" {
			out = append(out, c)
		}
	}
	return out
}

func flagWords(flags []cli.Flag) []string {
	var words []string
	for _, f := range flags {
		words = append(words, "--"+f.Names()[0])
	}
	return words
}
