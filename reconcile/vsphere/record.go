package vsphere

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/lkv-io/lkv/internal/report"
	"github.com/lkv-io/lkv/internal/secret"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// Keys of extraConfig. Nothing secret is ever written there: everybody who may read the VM reads them.
const (
	ownerKey   = "lkv.owner"  // whose VM it is; set once, at creation or adoption
	recordKey  = "lkv.record" // what plan.Record says, written under changeVersion
	uuidKey    = "disk.EnableUUID"
	recordForm = 1
)

// owner is the value of ownerKey.
type owner struct {
	Fleet   string `json:"fleet"`
	Ordinal int    `json:"ordinal"`
	ID      string `json:"id,omitempty"` // which lkv, when several manage fleets of one name in one vCenter
}

// record is plan.Record as it is stored. The names are a contract with every later lkv.
type record struct {
	Format      int          `json:"format"`
	Image       string       `json:"image,omitempty"`
	ImageID     string       `json:"image_id,omitempty"`
	Previous    string       `json:"previous,omitempty"`
	PreviousISO string       `json:"previous_iso,omitempty"`
	Token       string       `json:"token,omitempty"`
	Key         string       `json:"key,omitempty"` // the certificate's SHA-256
	Epoch       int          `json:"epoch"`
	Owner       string       `json:"owner,omitempty"`
	Expires     *time.Time   `json:"expires,omitempty"`
	Started     *time.Time   `json:"started,omitempty"`
	Disks       []diskRecord `json:"disks,omitempty"`
	Failed      string       `json:"failed,omitempty"`
	Paused      bool         `json:"paused,omitempty"`
	PreviousID  string       `json:"previous_id,omitempty"`
	Engine      string       `json:"engine,omitempty"`
	EngineWas   string       `json:"engine_was,omitempty"`
	Rolled      *time.Time   `json:"rolled,omitempty"`
	Due         bool         `json:"due,omitempty"`
	Drained     bool         `json:"drained,omitempty"`
	Ill         *time.Time   `json:"ill,omitempty"`
	Spurned     string       `json:"spurned,omitempty"`
	Replaces    string       `json:"replaces,omitempty"`
	Takes       []diskRecord `json:"takes,omitempty"`
	Generation  int          `json:"generation,omitempty"`
	Retired     *time.Time   `json:"retired,omitempty"`
}

type diskRecord struct {
	Name       string `json:"name"`
	UUID       string `json:"uuid,omitempty"`
	Path       string `json:"path"`
	Label      string `json:"label,omitempty"`
	Filesystem string `json:"filesystem,omitempty"`
}

func encodeRecord(r plan.Record) (string, error) {
	out := record{
		Format: recordForm, Image: r.Image, ImageID: r.ImageID, Previous: r.Previous, PreviousISO: r.PreviousISO,
		Token: r.Token, Key: r.Key, Epoch: r.Epoch, Owner: r.Owner, Expires: stamp(r.Expires), Started: stamp(r.Started),
		Failed: r.Failed, Paused: r.Paused, PreviousID: r.PreviousID, Engine: r.Engine, EngineWas: r.EngineWas, Rolled: stamp(r.Rolled),
		Due: r.Due, Drained: r.Drained, Ill: stamp(r.Ill), Spurned: r.Spurned, Replaces: r.Replaces,
		Generation: r.Generation, Retired: stamp(r.Retired),
	}
	for _, d := range r.Disks {
		out.Disks = append(out.Disks, diskRecord(d))
	}
	for _, d := range r.Takes {
		out.Takes = append(out.Takes, diskRecord(d))
	}
	raw, err := json.Marshal(out)
	return string(raw), err
}

func decodeRecord(s string) (plan.Record, error) {
	if s == "" {
		return plan.Record{}, nil
	}
	var in record
	if err := json.Unmarshal([]byte(s), &in); err != nil {
		return plan.Record{}, fmt.Errorf("read %s: %w", recordKey, err)
	}
	if in.Format < 1 || in.Format > recordForm {
		return plan.Record{}, fmt.Errorf("read %s: format %d, this lkv knows %d: use a newer lkv", recordKey, in.Format, recordForm)
	}
	r := plan.Record{
		Image: in.Image, ImageID: in.ImageID, Previous: in.Previous, PreviousISO: in.PreviousISO, Token: in.Token, Key: in.Key,
		Epoch: in.Epoch, Owner: in.Owner, Expires: at(in.Expires), Started: at(in.Started), Failed: in.Failed, Paused: in.Paused,
		PreviousID: in.PreviousID, Engine: in.Engine, EngineWas: in.EngineWas, Rolled: at(in.Rolled), Due: in.Due, Drained: in.Drained, Ill: at(in.Ill),
		Spurned: in.Spurned, Replaces: in.Replaces, Generation: in.Generation, Retired: at(in.Retired),
	}
	for _, d := range in.Disks {
		r.Disks = append(r.Disks, plan.DiskRecord(d))
	}
	for _, d := range in.Takes {
		r.Takes = append(r.Takes, plan.DiskRecord(d))
	}
	return r, nil
}

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func at(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// options turns keys and values into extraConfig, in the order given.
func options(kv ...string) []types.BaseOptionValue {
	var out []types.BaseOptionValue
	for i := 0; i+1 < len(kv); i += 2 {
		out = append(out, &types.OptionValue{Key: kv[i], Value: kv[i+1]})
	}
	return out
}

func extraOf(list []types.BaseOptionValue) map[string]string {
	m := make(map[string]string, len(list))
	for _, o := range list {
		v := o.GetOptionValue()
		m[v.Key] = fmt.Sprint(v.Value)
	}
	return m
}

// guestOf reads what the guest says about itself. A VM that is off says nothing, whatever is left of an old report.
func guestOf(o item, extra map[string]string, power plan.Power) plan.Guest {
	if power != plan.On {
		return plan.Guest{}
	}
	g := plan.Guest{
		Tools: text(o, "guest.toolsRunningStatus") == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning),
		IP:    address(o),
	}
	raw := extra[report.Key]
	if raw == "" {
		return g
	}
	var r report.Report
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		g.Error = "its report is not readable: " + err.Error()
		return g
	}
	if r.Format > report.Format {
		g.Error = fmt.Sprintf("its report has format %d, this lkv knows %d: use a newer lkv", r.Format, report.Format)
		return g
	}
	g.Token, g.ImageID, g.BootID, g.State, g.Error = r.Token, r.Image.ID, r.BootID, r.State, secret.Redact(r.Error)
	for _, d := range r.Disks {
		if d.Mounted {
			g.Mounts = append(g.Mounts, plan.GuestMount{Path: d.Mount, Serial: d.Serial})
		}
	}
	return g
}

// address prefers an address of a network card over what the tools call the guest's: that may be a bridge's.
func address(o item) string {
	nics, _ := get[[]types.GuestNicInfo](o, "guest.net")
	for _, n := range nics {
		if n.DeviceConfigId <= 0 || n.IpConfig == nil {
			continue
		}
		for _, ip := range n.IpConfig.IpAddress {
			if ip.IpAddress != "" && !local(ip.IpAddress) {
				return ip.IpAddress
			}
		}
	}
	return text(o, "guest.ipAddress")
}
