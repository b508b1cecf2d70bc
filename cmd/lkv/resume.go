package main

import (
	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile/plan"
)

var goesOn = wording{done: "goes on with the next lkv reconcile", nothing: "nothing holds it up", not: "still stands still", each: "cleared"}

func (s system) resumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "let a fleet go again that was paused, or that stands still because a roll failed",
		Description: "Look at the VM that failed first. This only clears what its record says: a failure, a pause, a roll that takes too\n" +
			"long, an image that was rolled back. Power, ISO and disks stay as they are, and the next reconcile judges the VM by\n" +
			"whether it serves.\n" +
			"Exit code 0: nothing holds the fleet up any more. 3: a VM was left alone, for example because another run holds it.",
		Flags: []cli.Flag{namedFleetFlag(), journalFlag()},
		Action: func(c *cli.Context) error {
			if err := needFleet(c); err != nil {
				return err
			}
			return s.decided(c, true, goesOn, plan.Resume)
		},
	}
}

func namedFleetFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "fleet", Usage: "the fleet `NAME`; may be repeated"}
}

// needFleet refuses commands that are never meant for whatever fleets there are.
func needFleet(c *cli.Context) error {
	if len(texts(c, "fleet")) == 0 {
		return usagef("name the fleet: lkv %s --fleet NAME", c.Command.Name)
	}
	return nil
}
