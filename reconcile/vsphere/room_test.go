package vsphere

import (
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

// What thin disks were promised and do not take yet is free, and no room; a datastore need not say it.
func TestRoom(t *testing.T) {
	at := func(name string, free, uncommitted int64) item {
		return item{types.ManagedObjectReference{Type: "Datastore", Value: name}, map[string]types.AnyType{"name": name,
			"summary": types.DatastoreSummary{Accessible: true, FreeSpace: free, Uncommitted: uncommitted}}}
	}
	list := (&Client{}).described(nil, []item{at("a", 1000, 900), at("b", 300, 0), at("c", 500, 300)})
	if list[0].name != "a" || list[0].free != 1000 {
		t.Errorf("files go by what is free: %+v", list)
	}
	var p promises
	var got string
	for range 5 {
		got += p.to(list, 80).name // 300, 200, 100 have b, c and a
	}
	if got != "bbcbc" {
		t.Errorf("chosen: %s", got)
	}
}
