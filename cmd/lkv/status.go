package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/internal/ui"
	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// vmStatus is one VM in the JSON of status.
type vmStatus struct {
	Fleet string   `json:"fleet"`
	VM    string   `json:"vm"`
	Power string   `json:"power"`
	IP    string   `json:"ip"`
	Image string   `json:"image"` // SHA-256 of the ISO that the VM should run
	Disks []string `json:"data_disks"`
	Ready bool     `json:"ready"`
	Why   string   `json:"why"` // why it is not ready
}

func (s system) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show every VM of the fleets as it is",
		Flags: []cli.Flag{fleetFlag()},
		Action: func(c *cli.Context) error {
			list := []vmStatus{}
			err := s.eachFleet(c, false, func(t target) error {
				found, err := t.status(c)
				list = append(list, found...)
				return err
			})
			if err != nil {
				return err
			}
			if given(c, "json") {
				return s.printJSON(map[string][]vmStatus{"vms": list})
			}
			return s.printStatus(list)
		},
	}
}

// status looks at one fleet: the VMs that are wanted, present or not, and those that are there besides.
func (t target) status(c *cli.Context) ([]vmStatus, error) {
	if t.blocked != nil {
		return nil, t.blocked[0]
	}
	have, err := t.look(c.Context)
	if err != nil {
		return nil, fmt.Errorf("look at fleet %s: %w", t.desired.Fleet, err)
	}
	if have.Problem != "" {
		return nil, plan.Blocked{Code: plan.R15, Reason: have.Problem, Clear: "run lkv status again"}
	}
	seen := map[string]plan.VM{}
	for _, v := range have.VMs {
		seen[v.Name] = v
	}
	var list []vmStatus
	for _, w := range t.desired.VMs {
		v, ok := seen[w.Name]
		delete(seen, w.Name)
		if !ok {
			list = append(list, vmStatus{Fleet: t.desired.Fleet, VM: w.Name, Disks: []string{}, Why: "is missing"})
			continue
		}
		st := t.statusOf(v)
		if st.Why == "" {
			st.Why = reconcile.Ready(t.desired, w, v)
		}
		st.Ready = st.Why == ""
		list = append(list, st)
	}
	for _, v := range have.VMs {
		if _, extra := seen[v.Name]; extra {
			st := t.statusOf(v)
			if st.Why == "" {
				st.Why = "is not wanted any more"
			}
			list = append(list, st)
		}
	}
	return list, nil
}

func (t target) statusOf(v plan.VM) vmStatus {
	st := vmStatus{Fleet: t.desired.Fleet, VM: v.Name, Power: string(v.Power), IP: v.Guest.IP, Image: v.Record.Image, Disks: []string{}}
	for _, d := range v.Disks {
		st.Disks = append(st.Disks, d.UUID)
	}
	switch {
	case v.Fleet != t.desired.Fleet:
		st.Why = "has this name but is not lkv's"
	case v.Record.Paused:
		st.Why = "is paused"
	case v.Record.Failed != "":
		st.Why = "last roll failed: " + v.Record.Failed
	}
	return st
}

func (s system) printStatus(list []vmStatus) error {
	var rows [][]string
	for _, v := range list {
		ready := v.Why
		if v.Ready {
			ready = "ready"
		}
		rows = append(rows, []string{v.Fleet, v.VM, v.Power, v.IP, ui.Short(v.Image), fmt.Sprint(len(v.Disks)), ready})
	}
	return ui.Table(s.Stdout, s.style(), []string{"FLEET", "VM", "POWER", "IP", "ISO", "DISKS", "STATE"}, rows)
}
