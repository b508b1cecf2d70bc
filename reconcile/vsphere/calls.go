package vsphere

import (
	"reflect"
	"strings"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// kind says what a call may do.
type kind int

const (
	unknown kind = iota // not on the list: refused
	login               // session handling: not repeated by itself
	reads               // changes nothing outside of the session
	writes              // changes something; some are checked further by what they carry (gate.go)
)

// calls is the closed list of what this package may send. UnregisterVM, RelocateVM_Task, CloneVM_Task,
// MoveVirtualDisk_Task, CopyVirtualDisk_Task, snapshots and everything else are refused by not being here.
var calls = map[string]kind{
	"Login": login, "Logout": login, "RetrieveServiceContent": login,

	"RetrievePropertiesEx": reads, "ContinueRetrievePropertiesEx": reads, "RetrieveProperties": reads,
	"CreateContainerView": reads, "DestroyView": reads, "FindByInventoryPath": reads,
	"CreatePropertyCollector": reads, "CreateFilter": reads, "WaitForUpdatesEx": reads, "DestroyPropertyCollector": reads,
	"SearchDatastore_Task": reads, "QueryVirtualDiskUuid": reads,
	"HasUserPrivilegeOnEntities": reads, "CurrentTime": reads, // lkv doctor asks
	"AcquireGenericServiceTicket": reads, // for one upload to one host; it changes nothing

	"MakeDirectory": writes, "CreateDirectory": writes, "CreateFolder": writes,
	"MoveDatastoreFile_Task": writes, "DeleteDatastoreFile_Task": writes, "CopyDatastoreFile_Task": writes,
	"CreateVirtualDisk_Task": writes, "CancelTask": writes,
	"CreateVM_Task": writes, "ReconfigVM_Task": writes,
	"Destroy_Task": writes, "Rename_Task": writes, "DeleteVirtualDisk_Task": writes, // each only with a permit, see gatevm.go
	"ExtendVirtualDisk_Task": writes,
	"PowerOnVM_Task":         writes, "PowerOffVM_Task": writes, "ShutdownGuest": writes,
}

// method returns the SOAP method of a request body: "Destroy_Task" for *methods.Destroy_TaskBody.
func method(req soap.HasFault) string {
	return strings.TrimSuffix(reflect.TypeOf(req).Elem().Name(), "Body")
}

func changes(req soap.HasFault) bool { return calls[method(req)] != reads }

// bare tells whether a call needs no session.
func bare(req soap.HasFault) bool { return calls[method(req)] == login }

// vmOf returns the VM that a call is made on.
func vmOf(req soap.HasFault) (types.ManagedObjectReference, bool) {
	r := reflect.ValueOf(req).Elem().FieldByName("Req")
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return types.ManagedObjectReference{}, false
	}
	ref, ok := r.Elem().FieldByName("This").Interface().(types.ManagedObjectReference)
	return ref, ok && ref.Type == "VirtualMachine"
}

// taskOf returns the task that a call was answered with, nil when there is none.
func taskOf(res soap.HasFault, err error) *types.ManagedObjectReference {
	if err != nil || res == nil {
		return nil
	}
	r := reflect.ValueOf(res).Elem().FieldByName("Res")
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return nil
	}
	val := r.Elem().FieldByName("Returnval")
	if !val.IsValid() {
		return nil
	}
	ref, ok := val.Interface().(types.ManagedObjectReference)
	if !ok || ref.Type != "Task" {
		return nil
	}
	return &ref
}

// empty clears a response body, so that the call can be repeated into it.
func empty(res soap.HasFault) {
	v := reflect.ValueOf(res).Elem()
	v.Set(reflect.Zero(v.Type()))
}
