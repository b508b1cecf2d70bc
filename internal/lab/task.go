package lab

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// startTask makes a task of our own around work and returns at once. The simulator would hold the lock of the task's
// entity meanwhile, and nobody could read the VM; so the task begins with an entity that does not exist.
func (l *Lab) startTask(entity types.ManagedObjectReference, method string, work func() (types.AnyType, types.BaseMethodFault)) types.ManagedObjectReference {
	nobody := types.ManagedObjectReference{Type: "LabTask", Value: uuid.NewString()}
	started := make(chan struct{})
	t := simulator.CreateTask(nobody, method, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		<-started
		time.Sleep(l.cfg.TaskDelay)
		return work()
	})
	t.Info.Name = method
	t.Info.DescriptionId = entity.Type + "." + strings.TrimSuffix(method, "_Task")
	ref := t.Run(l.context())
	l.update(ref, types.PropertyChange{Name: "info.entity", Val: entity}, types.PropertyChange{Name: "info.entityName", Val: l.nameOf(entity)})
	l.addRecent(entity, ref)
	close(started)
	return ref
}

// addRecent puts the task into its entity's list of recent tasks, which the simulator only does for existing entities.
func (l *Lab) addRecent(entity, task types.ManagedObjectReference) {
	ctx := l.context()
	vm, ok := ctx.Map.Get(entity).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	ctx.WithLock(vm, func() {
		recent := append(append([]types.ManagedObjectReference{}, vm.RecentTask...), task)
		ctx.Update(vm, []types.PropertyChange{{Name: "recentTask", Val: recent}})
	})
}

// await waits for one of the simulator's own tasks.
func (l *Lab) await(ref types.ManagedObjectReference) (types.AnyType, types.BaseMethodFault) {
	ctx := l.context()
	t, ok := ctx.Map.Get(ref).(*simulator.Task)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: ref}
	}
	for pause := 200 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		var state types.TaskInfoState
		var result types.AnyType
		var fault types.BaseMethodFault
		c := l.context()
		c.WithLock(t, func() {
			state, result = t.Info.State, t.Info.Result
			if t.Info.Error != nil {
				fault = t.Info.Error.Fault
			}
		})
		if state == types.TaskInfoStateSuccess || state == types.TaskInfoStateError {
			return result, fault
		}
		time.Sleep(pause)
	}
}
