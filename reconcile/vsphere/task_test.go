package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// shows answers every property read with what a function returns.
type shows func(ref types.ManagedObjectReference) []types.DynamicProperty

func (s shows) RoundTrip(_ context.Context, req, res soap.HasFault) error {
	in, ok := req.(*methods.RetrievePropertiesExBody)
	if !ok {
		return fmt.Errorf("unexpected %T", req)
	}
	out := &types.RetrieveResult{}
	for _, spec := range in.Req.SpecSet {
		ref := spec.ObjectSet[0].Obj
		out.Objects = append(out.Objects, types.ObjectContent{Obj: ref, PropSet: s(ref)})
	}
	res.(*methods.RetrievePropertiesExBody).Res = &types.RetrievePropertiesExResponse{Returnval: out}
	return nil
}

func with(s soap.RoundTripper) *Client {
	return &Client{vim: &vim25.Client{RoundTripper: s, ServiceContent: types.ServiceContent{PropertyCollector: types.ManagedObjectReference{Type: "PropertyCollector", Value: "pc"}}}}
}

var (
	aTask = types.ManagedObjectReference{Type: "Task", Value: "task-1"}
	aVM   = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}
)

// A question keeps a task waiting for ever: R08 instead of a wait (L: "power-on hangs at 95 %").
func TestAwaitSeesTheQuestion(t *testing.T) {
	c := with(shows(func(ref types.ManagedObjectReference) []types.DynamicProperty {
		if ref == aTask {
			return []types.DynamicProperty{{Name: "info", Val: types.TaskInfo{State: types.TaskInfoStateRunning}}}
		}
		return []types.DynamicProperty{{Name: "runtime.question", Val: types.VirtualMachineQuestionInfo{Text: "Disconnect anyway?"}}}
	}))
	_, err := c.await(t.Context(), aTask, &aVM, time.Minute)
	var b plan.Blocked
	if !errors.As(refusal("wrk-01", err), &b) || b.Code != plan.R08 || b.VM != "wrk-01" || !strings.Contains(b.Reason, "Disconnect anyway?") {
		t.Errorf("%v", err)
	}
}

func TestAwaitEnds(t *testing.T) {
	state := types.TaskInfoStateRunning
	var failed *types.LocalizedMethodFault
	c := with(shows(func(types.ManagedObjectReference) []types.DynamicProperty {
		return []types.DynamicProperty{{Name: "info", Val: types.TaskInfo{State: state, Error: failed}}}
	}))
	began := time.Now()
	if _, err := c.await(t.Context(), aTask, nil, 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "task-1 did not end within 100ms") {
		t.Errorf("deadline: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.await(ctx, aTask, nil, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	state, failed = types.TaskInfoStateError, &types.LocalizedMethodFault{Fault: &types.FileNotFound{}}
	if _, err := c.await(t.Context(), aTask, nil, time.Minute); !isMissing(err) {
		t.Errorf("fault: %v", err)
	}
	failed = nil
	if _, err := c.await(t.Context(), aTask, nil, time.Minute); err == nil {
		t.Error("a task without a reason did not fail")
	}
	state = types.TaskInfoStateSuccess
	if _, err := c.await(t.Context(), aTask, nil, time.Minute); err != nil {
		t.Errorf("success: %v", err)
	}
}

// telling is a vCenter whose task ends when it is asked to tell of the end, so that there is nothing to tell any more.
type telling struct {
	shows
	state types.TaskInfoState
	waits int
}

func (v *telling) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	switch out := res.(type) {
	case *methods.CreatePropertyCollectorBody:
		v.state = types.TaskInfoStateSuccess
		out.Res = &types.CreatePropertyCollectorResponse{}
	case *methods.CreateFilterBody:
		out.Res = &types.CreateFilterResponse{}
	case *methods.DestroyPropertyCollectorBody:
		out.Res = &types.DestroyPropertyCollectorResponse{}
	case *methods.WaitForUpdatesExBody:
		if v.waits++; v.waits > 1 {
			return errors.New("nothing changes any more")
		}
		out.Res = &types.WaitForUpdatesExResponse{Returnval: &types.UpdateSet{Version: "1"}}
	default:
		return v.shows.RoundTrip(ctx, req, res)
	}
	return nil
}

// A task that ends between the last look and the moment from which vCenter tells of changes is not waited for.
func TestAwaitLooksWhenTellingBegins(t *testing.T) {
	v := &telling{state: types.TaskInfoStateRunning}
	v.shows = func(types.ManagedObjectReference) []types.DynamicProperty {
		return []types.DynamicProperty{{Name: "info", Val: types.TaskInfo{State: v.state}}}
	}
	if _, err := with(v).await(t.Context(), aTask, nil, time.Minute); err != nil || v.waits != 1 {
		t.Errorf("%v after %d waits", err, v.waits)
	}
}

// Faults are told apart by type, in tasks and in answers alike.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		fault types.BaseMethodFault
		code  plan.Code
	}{
		{&types.NoPermission{PrivilegeId: "VirtualMachine.Interact.PowerOn"}, plan.R20},
		{&types.FileLocked{}, plan.R07},
		{&types.TaskInProgress{}, plan.R08},
		{&types.NoDiskSpace{}, plan.R21},
		{&types.InsufficientStorageSpace{}, plan.R21},
		{&types.HostCommunication{}, ""},
	} {
		for _, err := range []error{
			task.Error{LocalizedMethodFault: &types.LocalizedMethodFault{Fault: c.fault}},
			fmt.Errorf("wrapped: %w", soap.WrapVimFault(c.fault)),
			soap.WrapSoapFault(faultOf(c.fault)),
		} {
			var b plan.Blocked
			got := refusal("vm", err)
			if errors.As(got, &b) != (c.code != "") || b.Code != c.code {
				t.Errorf("%T: %v", c.fault, got)
			}
			if c.code == plan.R20 && !strings.Contains(b.Reason, "VirtualMachine.Interact.PowerOn") {
				t.Errorf("reason %q", b.Reason)
			}
		}
	}
	conflict := task.Error{LocalizedMethodFault: &types.LocalizedMethodFault{Fault: &types.ConcurrentAccess{}}}
	if err := refusal("vm", conflict); !errors.Is(err, ErrChanged) {
		t.Errorf("%v", err)
	}
	if refusal("vm", nil) != nil {
		t.Error("nothing became something")
	}
}

func faultOf(f types.BaseMethodFault) *soap.Fault {
	s := &soap.Fault{}
	s.Detail.Fault = f
	return s
}

// Whose tasks are waited for, and whose keep us away.
func TestRunningTasks(t *testing.T) {
	for id, mine := range map[string]bool{
		"VirtualMachine.reconfigure": true, "VirtualMachine.powerOn": true, "VirtualMachine.powerOff": true, "Folder.createVm": true,
		"VirtualMachine.createSnapshot": false, "Drm.ExecuteVMotionLRO": false, "VirtualMachine.relocate": false, "": false,
	} {
		var v sighted
		v.running(types.TaskInfo{Task: aTask, DescriptionId: id})
		if (v.vm.Task != "") != mine || (len(v.vm.Busy) == 0) != mine {
			t.Errorf("%s: task %q, busy %q", id, v.vm.Task, v.vm.Busy)
		}
	}
}

func TestBusy(t *testing.T) {
	ok := map[string]types.AnyType{"runtime.connectionState": types.VirtualMachineConnectionStateConnected, "config.changeVersion": "1",
		"runtime.powerState": types.VirtualMachinePowerStatePoweredOn}
	f := with(nil).Fleet(FleetConfig{Now: time.Now})
	if v := f.sighted(item{props: ok}); len(v.vm.Busy) > 0 {
		t.Errorf("a healthy VM is busy: %q", v.vm.Busy)
	}
	for path, val := range map[string]types.AnyType{
		"runtime.connectionState": types.VirtualMachineConnectionStateInaccessible,
		"config.changeVersion":    "",
		"config.template":         true,
		"runtime.powerState":      types.VirtualMachinePowerStateSuspended,
		"runtime.question":        types.VirtualMachineQuestionInfo{Text: "?"},
	} {
		props := map[string]types.AnyType{}
		for k, v := range ok {
			props[k] = v
		}
		props[path] = val
		if v := f.sighted(item{props: props}); len(v.vm.Busy) != 1 {
			t.Errorf("%s = %v: busy %q", path, val, v.vm.Busy)
		}
	}
}

// flaky fails so many times the way a network does.
type flaky struct {
	fails int
	tries int
}

func (f *flaky) RoundTrip(context.Context, soap.HasFault, soap.HasFault) error {
	if f.tries++; f.tries <= f.fails {
		return &url.Error{Op: "Post", URL: "/sdk", Err: errors.New("connection reset")}
	}
	return nil
}

// A read that the network lost is repeated; a write never is, because only its reply may be lost.
func TestOnlyReadsAreRepeated(t *testing.T) {
	read := func() (soap.HasFault, soap.HasFault) {
		return &methods.RetrievePropertiesExBody{}, &methods.RetrievePropertiesExBody{}
	}
	write := func() (soap.HasFault, soap.HasFault) {
		return &methods.PowerOnVM_TaskBody{}, &methods.PowerOnVM_TaskBody{}
	}
	for _, c := range []struct {
		call         func() (soap.HasFault, soap.HasFault)
		fails, tries int
		ok           bool
	}{{read, 2, 3, true}, {write, 1, 1, false}, {write, 0, 1, true}} {
		n := &flaky{fails: c.fails}
		s := &session{next: n}
		req, res := c.call()
		if err := s.RoundTrip(t.Context(), req, res); (err == nil) != c.ok || n.tries != c.tries {
			t.Errorf("%T: %v after %d tries", req, err, n.tries)
		}
	}
}

// A property that vCenter withholds is an error, never an empty value (law 6).
func TestMissingPropertyIsAnError(t *testing.T) {
	c := with(withheld{})
	if _, err := c.retrieve(t.Context(), want{aVM, []string{"config"}}); err == nil || !isFault[*types.NoPermission](err) || !strings.Contains(err.Error(), "property config of vm-1") {
		t.Errorf("%v", err)
	}
	none := with(shows(func(types.ManagedObjectReference) []types.DynamicProperty { return nil }))
	if _, err := none.retrieve(t.Context(), want{aVM, []string{"config"}}); err != nil {
		t.Errorf("an unset property is no error: %v", err)
	}
}

type withheld struct{}

func (withheld) RoundTrip(_ context.Context, _, res soap.HasFault) error {
	res.(*methods.RetrievePropertiesExBody).Res = &types.RetrievePropertiesExResponse{Returnval: &types.RetrieveResult{Objects: []types.ObjectContent{{Obj: aVM,
		MissingSet: []types.MissingProperty{{Path: "config", Fault: types.LocalizedMethodFault{Fault: &types.NoPermission{}}}}}}}}
	return nil
}
