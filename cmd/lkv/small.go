package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

func (s system) versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version",
		Action: func(c *cli.Context) error {
			if given(c, "json") {
				return s.printJSON(map[string]string{"version": s.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(s.Stdout, "lkv %s\n", s.Version)
			return err
		},
	}
}

func (s system) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell: bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Description: "Load it in the running shell:\n\n    source <(lkv completion bash)",
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usagef("name one shell: lkv completion bash|zsh|fish")
			}
			script, ok := completions(s.app())[c.Args().First()]
			if !ok {
				return usagef("there is no completion for %q: write bash, zsh or fish", c.Args().First())
			}
			_, err := fmt.Fprint(s.Stdout, script)
			return err
		},
	}
}
