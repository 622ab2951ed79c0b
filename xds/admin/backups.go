package admin

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/roster"
)

// Vault makes and restores backups of the store.
type Vault interface {
	// Open returns a backup of this moment, and its size in bytes. The audit knows of it before.
	Open(ctx context.Context, by audit.Entry) (backup io.ReadCloser, size int64, err error)
	// Take restores the backup that r has. It returns the generation with which Envoys know it, and the file in which what
	// it replaced is kept. On an error nothing has changed.
	Take(ctx context.Context, r io.Reader, by audit.Entry) (generation int64, kept string, err error)
}

const (
	backupPath  = "/api/v1/backup"
	restorePath = "/api/v1/restore"

	// transferTime is how long a backup may take on its way.
	transferTime = 15 * time.Minute

	octets = "application/octet-stream"
)

// Restored is the answer to a restore.
type Restored struct {
	Generation int64  `json:"generation" minimum:"0" doc:"An Envoy whose generation and config, in /api/v1/proxies, are both this or later goes by the restored account."`
	Kept       string `json:"kept" doc:"The file, on the control plane's host, that has what was replaced."`
}

type restoredOutput struct{ Body Restored }

// restoreInput is a body that is not read before the handler does.
type restoreInput struct {
	body io.Reader
	kind string
}

// Resolve implements huma.Resolver.
func (in *restoreInput) Resolve(ctx huma.Context) []error {
	in.body, in.kind = ctx.BodyReader(), ctx.Header("Content-Type")
	return nil
}

// bytesSchema is any bytes.
func bytesSchema() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{octets: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
}

func (a *api) registerBackups() {
	save := guardedOperation(huma.Operation{
		OperationID: "back-up", Method: http.MethodGet, Path: backupPath, Tags: []string{tagStore},
		Summary:     "A backup of the account and the keys, of this moment",
		Description: "The admin token is needed, though it only reads. Secrets are in it as they are in the store: sealed.",
	}, http.StatusConflict, http.StatusServiceUnavailable)
	save.Middlewares = huma.Middlewares{a.unhurried, headersAlone}
	save.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: bytesSchema()}}
	huma.Register(a.huma, save, a.backUp)

	restore := guardedOperation(huma.Operation{
		OperationID: "restore", Method: http.MethodPost, Path: restorePath, Tags: []string{tagStore},
		Summary: "Put a backup in the place of the account and the keys", DefaultStatus: http.StatusAccepted,
		Description: "No call fails for it, and what living Envoys counted since the backup comes back with their next reports. " +
			"The audit, events and messages stay as they are.",
		RequestBody: &huma.RequestBody{Required: true, Content: bytesSchema()},
	}, http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusServiceUnavailable)
	restore.MaxBodyBytes = backup.MaxSize
	restore.Middlewares = huma.Middlewares{a.unhurried}
	huma.Register(a.huma, restore, a.restore)
}

// unhurried gives what was let in the time that a large body takes.
func (a *api) unhurried(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	c, until := http.NewResponseController(w), a.Now().Add(transferTime)
	_, _ = c.SetReadDeadline(until), c.SetWriteDeadline(until) // where there is no connection there is no hurry
	next(ctx)
}

// headersAlone answers who asks for no more without making a backup.
func headersAlone(ctx huma.Context, next func(huma.Context)) {
	if ctx.Method() == http.MethodHead {
		ctx.SetHeader("Content-Type", octets)
		ctx.SetStatus(http.StatusOK)
		return
	}
	next(ctx)
}

func (a *api) backUp(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	file, size, err := a.Vault.Open(ctx, byCaller(ctx))
	if err != nil {
		return nil, a.noBackup(err)
	}
	name := "keywheel-" + a.Now().UTC().Format("20060102T150405Z") + ".db"
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer func() { _ = file.Close() }()
		ctx.SetHeader("Content-Type", octets)
		ctx.SetHeader("Content-Length", strconv.FormatInt(size, 10))
		ctx.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		if _, err := io.Copy(ctx.BodyWriter(), file); err != nil {
			a.Log.Debug("A backup was not taken whole", "error", err) // the client sees that by its length
		}
	}}, nil
}

func (a *api) restore(ctx context.Context, in *restoreInput) (*restoredOutput, error) {
	if kind, _, err := mime.ParseMediaType(in.kind); err != nil || kind != octets {
		return nil, huma.Error415UnsupportedMediaType("The body must be a backup: Content-Type: " + octets + ".")
	}
	generation, kept, err := a.Vault.Take(ctx, in.body, byCaller(ctx))
	if err != nil {
		return nil, a.noBackup(err)
	}
	return &restoredOutput{Body: Restored{Generation: generation, Kept: kept}}, nil
}

// noBackup is why a backup was not made, or not restored.
func (a *api) noBackup(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large), errors.Is(err, backup.ErrTooLarge):
		return huma.Error413RequestEntityTooLarge("A backup has at most 1 GiB.")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return huma.Error400BadRequest("The backup ended early.")
	case errors.Is(err, backup.ErrBad), errors.Is(err, roster.ErrInvalid):
		return huma.Error422UnprocessableEntity(sentence(err))
	case errors.Is(err, backup.ErrBusy), errors.Is(err, roster.ErrSealed):
		return huma.Error409Conflict(sentence(err))
	}
	a.Log.Error("A backup could not be made or restored", "error", err)
	return huma.Error503ServiceUnavailable("The store cannot be copied or written now; nothing was changed. Keywheel's log says why.")
}
