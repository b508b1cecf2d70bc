package lab

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// questions are those that VMs wait for an answer to, by their id.
type questions struct {
	mu   sync.Mutex
	open map[string]chan string // takes the key of the choice
}

// Choices of the question about a locked drive.
const (
	choiceYes = "0" // disconnect it all the same
	choiceNo  = "1"
)

// locked asks what a vCenter asks when a drive is to be changed that the running guest has locked, and waits, as the
// task does there, until somebody answers or the VM is off. The fault is that of the answer no.
func (l *Lab) locked(m *simulator.Method) types.BaseMethodFault {
	req, ok := m.Body.(*types.ReconfigVM_Task)
	if !ok {
		return nil
	}
	v, ok := l.look(m.This)
	stale := req.Spec.ChangeVersion != "" && req.Spec.ChangeVersion != v.version
	if !ok || !v.on || stale || !l.swaps(v, req.Spec.DeviceChange) {
		return nil // the guards refuse what is wrong with it otherwise
	}
	id, answer := uuid.NewString(), make(chan string, 1)
	l.asked.mu.Lock()
	if l.asked.open == nil {
		l.asked.open = map[string]chan string{}
	}
	l.asked.open[id] = answer
	l.asked.mu.Unlock()
	l.update(m.This, types.PropertyChange{Name: "runtime.question", Val: &types.VirtualMachineQuestionInfo{
		Id: id, Text: "msg.cdromdisconnect.locked: The guest operating system has locked the CD-ROM door and is probably using the CD-ROM. Disconnect anyway (and override the lock)?",
		Choice: types.ChoiceOption{ChoiceInfo: []types.BaseElementDescription{
			&types.ElementDescription{Description: types.Description{Label: "Yes"}, Key: choiceYes},
			&types.ElementDescription{Description: types.Description{Label: "No"}, Key: choiceNo},
		}},
	}})
	said := l.answered(m.This, answer)
	l.asked.mu.Lock()
	delete(l.asked.open, id)
	l.asked.mu.Unlock()
	l.update(m.This, types.PropertyChange{Name: "runtime.question", Val: nil})
	if said == choiceNo {
		return &types.GenericVmConfigFault{Reason: "the drive stays connected"}
	}
	return nil
}

// answered waits for an answer; yes, when the VM or the lab ends first.
func (l *Lab) answered(vm types.ManagedObjectReference, answer chan string) string {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case said := <-answer:
			return said
		case <-l.ctx.Done():
			return choiceYes
		case <-look.C:
			if v, ok := l.look(vm); !ok || !v.on {
				return choiceYes
			}
		}
	}
}

// swaps tells whether changes take an inserted ISO away. One that is not there is refused without a question.
func (l *Lab) swaps(v view, list []types.BaseVirtualDeviceConfigSpec) bool {
	return slices.ContainsFunc(list, func(c types.BaseVirtualDeviceConfigSpec) bool {
		d := c.GetVirtualDeviceConfigSpec()
		cd, ok := d.Device.(*types.VirtualCdrom)
		if !ok || d.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			return false
		}
		i := slices.IndexFunc(v.cds, func(x cdView) bool { return x.key == cd.Key && x.insert && x.iso != "" })
		gone := d.Operation == types.VirtualDeviceConfigSpecOperationRemove || cd.Connectable != nil && !cd.Connectable.Connected
		next := backingFile(cd)
		if i < 0 || next != "" && l.checkFile(v, next) != nil {
			return false
		}
		return gone || next != v.cds[i].iso
	})
}

func answerVM(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault) {
	req := m.Body.(*types.AnswerVM) //nolint:forcetypeassert // see createDisk
	l.asked.mu.Lock()
	defer l.asked.mu.Unlock()
	answer := l.asked.open[req.QuestionId]
	if answer == nil || req.AnswerChoice != choiceYes && req.AnswerChoice != choiceNo {
		return nil, &types.InvalidArgument{InvalidProperty: "questionId"}
	}
	select {
	case answer <- req.AnswerChoice:
	default: // it was answered already
	}
	return nil, nil
}
