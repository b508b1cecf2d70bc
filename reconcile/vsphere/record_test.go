package vsphere

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vmware/govmomi/vim25/types"
	"pgregory.net/rapid"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/reconcile/plan"
)

func moment(rt *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(rt, label+" zero") {
		return time.Time{}
	}
	return time.Unix(rapid.Int64Range(1, 1<<33).Draw(rt, label), rapid.Int64Range(0, 999_999_999).Draw(rt, label+" ns"))
}

// What is written is what is read, to the nanosecond.
func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := func(label string) string { return rapid.String().Draw(rt, label) }
		r := plan.Record{
			Image: s("image"), ImageID: s("id"), Previous: s("previous"), PreviousISO: s("iso"), Token: s("token"),
			Epoch: rapid.IntRange(0, 1<<30).Draw(rt, "epoch"), Owner: s("owner"), Failed: s("failed"), Paused: rapid.Bool().Draw(rt, "paused"),
			Expires: moment(rt, "expires"), Started: moment(rt, "started"),
			Disks: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) plan.DiskRecord {
				return plan.DiskRecord{Name: rapid.String().Draw(rt, "name"), UUID: rapid.String().Draw(rt, "uuid"), Path: rapid.String().Draw(rt, "path"),
					Label: rapid.String().Draw(rt, "label"), Filesystem: rapid.String().Draw(rt, "fs")}
			}), 0, 3).Draw(rt, "disks"),
		}
		raw, err := encodeRecord(r)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := decodeRecord(raw)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// The names of what is stored are a contract with every later lkv.
func TestRecordOnTheWire(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	raw, err := encodeRecord(plan.Record{Image: "d", ImageID: "sha256:i", Previous: "p", PreviousISO: "[iso] p.iso", Token: "t", Epoch: 3, Owner: "run",
		Expires: at, Started: at, Failed: "why", Paused: true, Disks: []plan.DiskRecord{{Name: "docker", UUID: "u", Path: "[ds] x.vmdk", Label: "docker", Filesystem: "ext4"}}})
	const want = `{"format":1,"image":"d","image_id":"sha256:i","previous":"p","previous_iso":"[iso] p.iso","token":"t","epoch":3,"owner":"run",` +
		`"expires":"2026-01-02T03:04:05Z","started":"2026-01-02T03:04:05Z","disks":[{"name":"docker","uuid":"u","path":"[ds] x.vmdk","label":"docker","filesystem":"ext4"}],"failed":"why","paused":true}`
	if err != nil || raw != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, raw))
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(`{"format":1,"epoch":3,"disks":[{"name":"docker"}],"expires":"2026-01-02T03:04:05Z"}`)
	f.Add(`{"format":2}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := decodeRecord(s)
		if err != nil {
			return
		}
		raw, err := encodeRecord(r)
		if err != nil {
			return // a year that JSON cannot write
		}
		again, err := decodeRecord(raw)
		if err != nil || !cmp.Equal(r, again, cmpopts.EquateEmpty()) {
			t.Errorf("%v\n%s", err, cmp.Diff(r, again))
		}
	})
}

func FuzzGuestReport(f *testing.F) {
	f.Add(`{"format":1,"token":"t","state":"running","disks":[{"mount":"/d","serial":"s","mounted":true}]}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, s string) {
		g := guestOf(item{props: map[string]types.AnyType{}}, map[string]string{report.Key: s}, plan.On)
		if !json.Valid([]byte(s)) && s != "" && g.Error == "" {
			t.Errorf("%q was taken for a report: %+v", s, g)
		}
	})
}

func TestGuestOf(t *testing.T) {
	rep := `{"format":1,"image":{"name":"w","id":"sha256:i"},"boot_id":"b","token":"t","state":"running","disks":[
		{"mount":"/var/lib/docker","serial":"6000c29f","mounted":true},{"mount":"/x","serial":"s","mounted":false}]}`
	nic := func(key int32, ips ...string) types.GuestNicInfo {
		n := types.GuestNicInfo{DeviceConfigId: key, IpConfig: &types.NetIpConfigInfo{}}
		for _, ip := range ips {
			n.IpConfig.IpAddress = append(n.IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{IpAddress: ip})
		}
		return n
	}
	props := map[string]types.AnyType{"guest.toolsRunningStatus": "guestToolsRunning", "guest.ipAddress": "172.17.0.1",
		"guest.net": []types.GuestNicInfo{nic(-1, "172.17.0.1"), nic(4000, "fe80::1", "10.0.0.5")}}
	full := plan.Guest{Tools: true, IP: "10.0.0.5", Token: "t", ImageID: "sha256:i", BootID: "b", State: "running",
		Mounts: []plan.GuestMount{{Path: "/var/lib/docker", Serial: "6000c29f"}}}
	for name, c := range map[string]struct {
		props  map[string]types.AnyType
		report string
		power  plan.Power
		want   plan.Guest
	}{
		"all":                  {props, rep, plan.On, full},
		"off, an old report":   {props, rep, plan.Off, plan.Guest{}},
		"suspended":            {props, rep, plan.Suspended, plan.Guest{}},
		"no report yet":        {props, "", plan.On, plan.Guest{Tools: true, IP: "10.0.0.5"}},
		"only a bridge so far": {map[string]types.AnyType{"guest.ipAddress": "10.0.0.9"}, "", plan.On, plan.Guest{IP: "10.0.0.9"}},
		"newer report":         {nil, `{"format":2}`, plan.On, plan.Guest{Error: "its report has format 2, this lkv knows 1: use a newer lkv"}},
		"failed": {nil, `{"format":1,"state":"failed","error":"disk not blank"}`, plan.On,
			plan.Guest{State: "failed", Error: "disk not blank"}},
	} {
		got := guestOf(item{props: c.props}, map[string]string{report.Key: c.report}, c.power)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if g := guestOf(item{}, map[string]string{report.Key: "{"}, plan.On); !strings.Contains(g.Error, "not readable") {
		t.Errorf("broken report: %+v", g)
	}
}
