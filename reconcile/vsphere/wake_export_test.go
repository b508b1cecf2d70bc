package vsphere

// ChangePassword makes the next login of this client one with another password.
func (c *Client) ChangePassword(to string) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.session.password = to
}
