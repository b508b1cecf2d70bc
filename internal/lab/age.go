package lab

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// Backdate makes a running VM look as if it had been powered on earlier by that much.
func (l *Lab) Backdate(name string, by time.Duration) error {
	v, err := l.find(name)
	if err != nil {
		return err
	}
	if !v.on {
		return fmt.Errorf("VM %s is off", name)
	}
	l.update(v.ref, types.PropertyChange{Name: "runtime.bootTime", Val: time.Now().Add(-by)})
	return nil
}
