package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"keywheel/xds/admin"
)

// transferTimeout is how long a backup may take on its way.
const transferTimeout = 15 * time.Minute

// Backup writes a backup of this moment to w. On an error w may have a part of it.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	ctx, cancel := transfer(ctx)
	defer cancel()
	resp, err := c.ask(ctx, http.MethodGet, "/api/v1/backup", nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

// Restore puts a backup in the place of the account and the keys. It returns the generation with which Envoys know it, and
// where what was replaced is kept.
func (c *Client) Restore(ctx context.Context, backup *os.File) (admin.Restored, error) {
	ctx, cancel := transfer(ctx)
	defer cancel()
	var restored admin.Restored
	resp, err := c.ask(ctx, http.MethodPost, "/api/v1/restore", backup, "application/octet-stream")
	if err != nil {
		return restored, err
	}
	defer resp.Body.Close()
	body, err := read(resp)
	if err != nil {
		return restored, err
	}
	if json.Unmarshal(body, &restored) != nil {
		return restored, ErrNotKeywheel
	}
	return restored, nil
}

func transfer(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, transferTimeout, fmt.Errorf("it took longer than %s", transferTimeout))
}
