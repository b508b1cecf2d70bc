package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lkv-io/lkv/reconcile"
	"github.com/lkv-io/lkv/reconcile/hook"
	"github.com/lkv-io/lkv/reconcile/plan"
)

// A drain that is late says so without its name, which the engine puts before it.
func TestLateDrainIsNamedOnce(t *testing.T) {
	d := reconcile.DrainCommand{Command: hook.Command{Argv: []string{"sleep", "60"}}, Deadline: 10 * time.Millisecond}
	err := d.Drain(t.Context(), plan.VM{Name: "f-1"}, hook.Keep, "x")
	if err == nil || !strings.HasPrefix(err.Error(), "not done after 10ms: ") {
		t.Error(err)
	}
}
