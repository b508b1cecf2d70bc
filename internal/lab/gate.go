package lab

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// operation is one SOAP method that the lab does not leave to the simulator alone.
// A task's guard and run are called one after the other, with Lab.mu held when serial.
type operation struct {
	serial bool
	run    func(l *Lab, m *simulator.Method) (types.AnyType, types.BaseMethodFault)
}

// operations are the methods that the gate runs itself, by SOAP name.
var operations = map[string]operation{
	"CreateVM_Task":                  {true, createVM},
	"ReconfigVM_Task":                {true, reconfigVM},
	"Destroy_Task":                   {true, destroy},
	"PowerOnVM_Task":                 {false, powerOn},
	"PowerOffVM_Task":                {false, powerOff},
	"ResetVM_Task":                   {false, resetVM},
	"SuspendVM_Task":                 {false, suspendVM},
	"ShutdownGuest":                  {false, shutdownGuest},
	"RebootGuest":                    {false, rebootGuest},
	"CreateVirtualDisk_Task":         {true, createDisk},
	"ExtendVirtualDisk_Task":         {true, extendDisk},
	"DeleteVirtualDisk_Task":         {true, deleteDisk},
	"MoveVirtualDisk_Task":           {true, moveDisk},
	"CopyVirtualDisk_Task":           {true, copyDisk},
	"SetVirtualDiskUuid":             {true, setDiskUUID},
	"QueryVirtualDiskUuid":           {true, queryDiskUUID},
	"DeleteDatastoreFile_Task":       {true, deleteFile},
	"MoveDatastoreFile_Task":         {true, moveFile},
	"CopyDatastoreFile_Task":         {true, copyFile},
	"SearchDatastore_Task":           {true, searchDatastore},
	"SearchDatastoreSubFolders_Task": {true, searchFolders},
	"RefreshDatastore":               {true, refreshDatastore},
	"MakeDirectory":                  {true, makeDirectory},
	"AnswerVM":                       {false, answerVM},
}

// reads are methods with a task that change nothing.
var reads = map[string]bool{
	"SearchDatastore_Task": true, "SearchDatastoreSubFolders_Task": true, "QueryVirtualDiskInfo_Task": true, "CheckCompatibility_Task": true,
}

// writes are methods without a task that change something.
var writes = map[string]bool{
	"ShutdownGuest": true, "RebootGuest": true, "StandbyGuest": true, "UnregisterVM": true, "MakeDirectory": true, "CreateDirectory": true, "CancelTask": true, "SetVirtualDiskUuid": true,
	"AnswerVM": true, "MarkAsTemplate": true, "MarkAsVirtualMachine": true, "CreateFolder": true, "CreateDatacenter": true, "CreateClusterEx": true,
	"SetCustomValue": true, "setCustomValue": true, "SetField": true, "AddCustomFieldDef": true, "CreateResourcePool": true, "UpdateConfig": true,
}

func mutating(method string) bool {
	return writes[method] || strings.HasSuffix(method, "_Task") && !reads[method]
}

// serveSDK is the gate: journal, injected faults, guards, execution.
func (l *Lab) serveSDK(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		deny(w, http.StatusMethodNotAllowed, "use POST")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		deny(w, http.StatusBadRequest, "read request: %v", err)
		return
	}
	l.dead.note(r)
	m := decode(body)
	if m == nil {
		l.pass(r, body).send(w)
		return
	}
	if m.Name == "AcquireGenericServiceTicket" && l.cfg.HostFiles {
		if s := l.session(r); !s.ok() {
			s.send(w)
			return
		}
		l.ticket(w, m)
		return
	}
	op, ours := operations[m.Name]
	if !ours && !mutating(m.Name) {
		l.pass(r, body).send(w)
		return
	}
	if s := l.session(r); !s.ok() {
		s.send(w)
		return
	}
	fault := None
	if mutating(m.Name) {
		fault = l.ask(l.record(l.describe(m)))
	}
	l.serveCall(w, r, body, m, op, fault)
}

// serveCall executes one call, with the fault that was asked for.
func (l *Lab) serveCall(w http.ResponseWriter, r *http.Request, body []byte, m *simulator.Method, op operation, fault Fault) {
	task := strings.HasSuffix(m.Name, "_Task")
	if status, ok := fault.status(); ok {
		deny(w, status, "injected")
		return
	}
	if _, short := fault.percent(); short || fault == Drop {
		cut()
	}
	switch fault {
	case ExpireAll:
		l.ExpireSessions()
		replyFault(w, new(types.NotAuthenticated))
		return
	case FailTask:
		if task {
			ref := l.startTask(m.This, m.Name, func() (types.AnyType, types.BaseMethodFault) { return nil, broken() })
			replyTask(w, m.Name, ref)
			return
		}
		replyFault(w, broken())
		return
	case Refuse, FullStore:
		replyFault(w, broken())
		return
	case None, LoseReply, Drop, CutUpload:
	}
	answer := newRecorder()
	switch {
	case op.run == nil:
		answer = l.pass(r, body)
	case task:
		replyTask(answer, m.Name, l.startTask(m.This, m.Name, func() (types.AnyType, types.BaseMethodFault) { return l.execute(m, op) }))
	default:
		l.executeNow(answer, m, op)
	}
	if fault == LoseReply {
		cut()
	}
	answer.send(w)
}

func (l *Lab) execute(m *simulator.Method, op operation) (types.AnyType, types.BaseMethodFault) {
	if fault := l.locked(m); fault != nil {
		return nil, fault
	}
	if op.serial {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	result, fault := op.run(l, m)
	if fault != nil {
		l.logf("%s %s: %T", m.Name, l.nameOf(m.This), fault)
	}
	return result, fault
}

// executeNow runs a method without a task. Its result is nothing or a string.
func (l *Lab) executeNow(w http.ResponseWriter, m *simulator.Method, op operation) {
	result, fault := l.execute(m, op)
	if fault != nil {
		replyFault(w, fault)
		return
	}
	if s, ok := result.(string); ok {
		replyResult(w, m.Name, "string", s)
		return
	}
	replyResult(w, m.Name, "", "")
}

// inner runs one of the simulator's own tasks to its end.
func inner[Q, S any](l *Lab, call func(context.Context, soap.RoundTripper, *Q) (*S, error), req *Q, task func(*S) types.ManagedObjectReference) (types.AnyType, types.BaseMethodFault) {
	res, err := call(context.Background(), l.model.Service, req)
	if err != nil {
		return nil, faultOf(err)
	}
	return l.await(task(res))
}

// faultOf is the fault in a call's error.
func faultOf(err error) types.BaseMethodFault {
	if soap.IsSoapFault(err) {
		if f, ok := soap.ToSoapFault(err).VimFault().(types.BaseMethodFault); ok {
			return f
		}
	}
	return &types.SystemError{RuntimeFault: types.RuntimeFault{MethodFault: types.MethodFault{
		FaultMessage: []types.LocalizableMessage{{Key: "lab", Message: err.Error()}}}}}
}
