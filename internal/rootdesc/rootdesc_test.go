package rootdesc

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func good() Root {
	return Root{
		Mode: ModeCD, Volume: "LKV-WORKER", SHA256: strings.Repeat("0f", 32), Size: 4096,
		Modules: []string{"/lib/modules/6.12/kernel/loop.ko"}, Init: "/sbin/init",
	}
}

func text(t testing.TB, r Root) []byte {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	got, err := Parse(text(t, good()))
	if d := cmp.Diff(good(), got); err != nil || d != "" {
		t.Error(err, d)
	}
	for name, edit := range map[string]func(*Root){
		"mode":            func(r *Root) { r.Mode = "initrd" },
		"volume":          func(r *Root) { r.Volume = "" },
		"sha256":          func(r *Root) { r.SHA256 = strings.ToUpper(r.SHA256) },
		"size":            func(r *Root) { r.Size = 0 },
		`"lib/x.ko"`:      func(r *Root) { r.Modules = []string{"lib/x.ko"} },
		`"/lib/../x.ko"`:  func(r *Root) { r.Modules = []string{"/lib/../x.ko"} },
		`"" is not a cle`: func(r *Root) { r.Init = "" },
	} {
		r := good()
		edit(&r)
		if _, err := Parse(text(t, r)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse([]byte("{")); err == nil {
		t.Error("half a file was read")
	}
}

// FuzzParse: what is accepted says the same when it is written and read again.
func FuzzParse(f *testing.F) {
	f.Add(text(f, good()))
	f.Add([]byte(`{"mode":"squashfs"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(text(t, r))
		if d := cmp.Diff(r, again); err != nil || d != "" {
			t.Error(err, d)
		}
	})
}
