package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"keywheel/xds/admin"
)

// AddKey adds a key.
func (c *Client) AddKey(ctx context.Context, key admin.NewKey) (admin.Changed, error) {
	return send[admin.Changed](ctx, c, http.MethodPost, "/api/v1/keys", key)
}

// ChangeKey changes what fields sets of a key.
func (c *Client) ChangeKey(ctx context.Context, keyID string, fields admin.KeyFields) (admin.Changed, error) {
	return send[admin.Changed](ctx, c, http.MethodPatch, keyPath(keyID), fields)
}

// RemoveKey removes a key.
func (c *Client) RemoveKey(ctx context.Context, keyID string) (admin.Changed, error) {
	return call[admin.Changed](ctx, c, http.MethodDelete, keyPath(keyID))
}

func keyPath(keyID string) string { return "/api/v1/keys/" + url.PathEscape(keyID) }

// Audits returns who changed what, newest first, at most limit of them.
func (c *Client) Audits(ctx context.Context, limit int) ([]admin.Audit, error) {
	return call[[]admin.Audit](ctx, c, http.MethodGet, "/api/v1/audit?limit="+strconv.Itoa(limit))
}

// Void takes out of the account what an Envoy process counted.
func (c *Client) Void(ctx context.Context, incarnation string) error {
	_, err := c.do(ctx, http.MethodDelete, "/api/v1/proxies/"+url.PathEscape(incarnation), nil)
	return err
}
