package vsphere

import (
	"context"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/vapi/library"
)

// RawLibraries is what Library uses, above the filter on the wire.
func (c *Client) RawLibraries() *library.Manager { return c.libraries().Manager }

// OwnSession tells the filter that an update session is ours.
func (c *Client) OwnSession(id string) { c.libraries().gate.ownSession(id) }

// PutRaw uploads something to a path.
func (c *Client) PutRaw(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+path, strings.NewReader("x"))
	if err != nil {
		return err
	}
	res, err := c.libraries().Client.Client.Client.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
