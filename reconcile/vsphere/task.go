package vsphere

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/reconcile/plan"
)

// Longest waits. A task that outlives them is not cancelled: the next look finds it (AwaitTask).
const (
	taskTime  = 10 * time.Minute
	zeroTime  = 4 * time.Hour // eager zeroing writes the whole disk
	firstPoll = 20 * time.Millisecond
	lastPoll  = time.Second
	quick     = 3                // looks at a task before vCenter is asked to tell when it ends, which takes calls by itself
	tellTime  = 30 * time.Second // a task is looked at this often, whatever vCenter tells
)

// ErrChanged means that the VM was changed by somebody else between the read and the write. Nothing was written;
// look again and plan again.
var ErrChanged = errors.New("the VM was changed by somebody else meanwhile")

// await waits until the task ends, and watches the VM it belongs to (nil: none) for a question that would keep the
// task waiting forever (R08). Its error is the task's fault, found by type.
func (c *Client) await(ctx context.Context, ref types.ManagedObjectReference, vm *types.ManagedObjectReference, limit time.Duration) (*types.TaskInfo, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("task %s did not end within %s", ref.Value, limit))
	defer cancel()
	ends := []want{{ref, []string{"info.state"}}}
	if vm != nil {
		ends = append(ends, want{*vm, []string{"runtime.question"}})
	}
	rest := c.rests(ends...)
	defer rest.end(ctx)
	for {
		if err := rest.pause(ctx); err != nil {
			return nil, err
		}
		info, question, err := c.taskState(ctx, ref, vm)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			return nil, fmt.Errorf("watch task %s: %w", ref.Value, err)
		}
		switch info.State {
		case types.TaskInfoStateSuccess:
			return info, nil
		case types.TaskInfoStateError:
			if info.Error == nil {
				return info, fmt.Errorf("task %s failed without a reason", info.DescriptionId)
			}
			return info, task.Error{LocalizedMethodFault: info.Error, Description: info.Description}
		}
		if question != "" {
			return info, plan.Blocked{Code: plan.R08, Reason: "a question is pending: " + question, Clear: "answer it in the vSphere client"}
		}
	}
}

// rests are the pauses between looks: a few short ones, and then until vCenter tells that something changed. Whatever
// it tells, only the look counts; where it does not tell, the pauses grow.
type rests struct {
	c    *Client
	on   []want
	n    int
	next time.Duration
	told *follower
}

// rests pauses until one of these properties changes.
func (c *Client) rests(on ...want) *rests { return &rests{c: c, on: on, next: firstPoll} }

func (r *rests) pause(ctx context.Context) error {
	r.n++
	if r.n == quick+1 {
		r.told, _ = r.c.follow(ctx, filters(r.on)) // without it the pauses go on
		if r.told != nil {
			return nil // what changed before vCenter began to tell, only a look shows
		}
	}
	if r.told != nil {
		if _, err := r.told.wait(ctx, tellTime); err == nil {
			return nil
		}
		r.end(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	defer func() { r.next = min(r.next*3/2, lastPoll) }()
	return sleep(ctx, r.next)
}

func (r *rests) end(ctx context.Context) {
	if r.told != nil {
		r.told.close(ctx)
		r.told = nil
	}
}

func (c *Client) taskState(ctx context.Context, ref types.ManagedObjectReference, vm *types.ManagedObjectReference) (*types.TaskInfo, string, error) {
	specs := []want{{ref, []string{"info"}}}
	if vm != nil {
		specs = append(specs, want{*vm, []string{"runtime.question"}})
	}
	list, err := c.retrieve(ctx, specs...)
	if err != nil {
		return nil, "", err
	}
	info, ok := get[types.TaskInfo](list[0], "info")
	if !ok {
		return nil, "", errors.New("vCenter does not show it")
	}
	question := ""
	if vm != nil {
		if q, ok := get[types.VirtualMachineQuestionInfo](list[1], "runtime.question"); ok {
			question = q.Text
		}
	}
	return &info, question, nil
}

// refusal turns faults into what they mean for the reconciler, by type. vm is the VM's name, for the message.
func refusal(vm string, err error) error {
	var blocked plan.Blocked
	switch {
	case err == nil:
		return nil
	case errors.As(err, &blocked):
		if blocked.VM == "" {
			blocked.VM = vm
		}
		return blocked
	case fault.Is(err, &types.ConcurrentAccess{}):
		return fmt.Errorf("%s: %w", vm, ErrChanged)
	case denial(err) != nil:
		errors.As(Refused(err), &blocked)
		blocked.VM = vm
		return blocked
	case isFault[*types.FileLocked](err):
		return plan.Blocked{VM: vm, Code: plan.R07, Reason: "a file is locked, so another VM uses it: " + err.Error(),
			Clear: "find the VM that holds the disk and power it off"}
	case isFault[*types.TaskInProgress](err), isFault[*types.ResourceInUse](err):
		return plan.Blocked{VM: vm, Code: plan.R08, Reason: "another task is running: " + err.Error(), Clear: "wait for it"}
	case isFault[*types.NoDiskSpace](err), isFault[*types.InsufficientStorageSpace](err):
		return plan.Blocked{VM: vm, Code: plan.R21, Reason: "the datastore is full: " + err.Error(), Clear: "make room on the datastore"}
	}
	return err
}

func isFault[T types.BaseMethodFault](err error) bool {
	var f T
	_, ok := fault.As(err, &f)
	return ok
}

// isMissing tells whether a file or folder is certainly not there.
func isMissing(err error) bool {
	return isFault[*types.FileNotFound](err)
}

// ours tells whether a task is one that lkv itself starts on a VM, by its description's ID.
func ours(info types.TaskInfo) bool {
	id := strings.ToLower(info.DescriptionId[strings.LastIndex(info.DescriptionId, ".")+1:])
	switch id {
	case "reconfigure", "reconfigvm", "poweron", "poweronvm", "poweroff", "poweroffvm", "createvm", "create", "shutdownguest":
		return true
	}
	return false
}
