package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/reconcile/plan"
)

var stops = wording{done: "is paused; it goes on after lkv resume", nothing: "was paused already", not: "is not paused everywhere", each: "paused"}

func (s system) pauseCommand() *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "stop a fleet: nothing of it is changed until lkv resume, by whichever lkv",
		Description: "The pause is written into every VM of the fleet, also while another run rolls it: that run stops before its next\n" +
			"VM. VMs that run go on running.",
		Flags: []cli.Flag{namedFleetFlag(), journalFlag()},
		Action: func(c *cli.Context) error {
			if err := needFleet(c); err != nil {
				return err
			}
			// Not alone: a pause is for the run that is at work here just now, too. It takes no claim.
			return s.decided(c, false, stops, func(want plan.Desired, have plan.Observed, _ time.Time) plan.Request {
				return plan.Halt(want, have)
			})
		},
	}
}
