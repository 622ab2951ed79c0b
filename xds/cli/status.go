package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/client"
	"keywheel/xds/config"
	"keywheel/xds/logging"
)

func (p *Program) statusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far each key is spent",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := p.connect()
			if err != nil {
				return err
			}
			if watch {
				return p.watch(cmd.Context(), running, asJSON)
			}
			return p.showStatus(cmd.Context(), running, asJSON, "")
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew every second, until Ctrl-C")
	return cmd
}

// showStatus shows the account, after what is written before it.
func (p *Program) showStatus(ctx context.Context, running *running, asJSON bool, before string) error {
	pool, err := running.Pool(ctx)
	if err != nil {
		return running.explain(err)
	}
	keys, err := running.Keys(ctx)
	if err != nil {
		return running.explain(err)
	}
	if asJSON {
		return writeJSON(p.Stdout, map[string]any{"pool": pool, "keys": keys})
	}
	if err := p.printf("%s%s", before, picture(pool, keys)); err != nil {
		return err
	}
	return p.warn(ctx, running, pool.Now)
}

// clearScreen goes to a terminal's first line and takes all below it away.
const clearScreen = "\x1b[H\x1b[J"

// watchEvery is how often a watched status is shown anew.
const watchEvery = time.Second

// watch shows the account until ctx ends. A control plane that is away for a moment is waited for, once it was there.
func (p *Program) watch(ctx context.Context, running *running, asJSON bool) error {
	before := ""
	if logging.Colorful(p.Stdout, p.getenv) {
		before = clearScreen
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for shown, away := false, false; ; {
		err := p.showStatus(ctx, running, asJSON, before)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !(shown && errors.Is(err, client.ErrUnreachable)):
			return err
		case err != nil && !away:
			_, _ = fmt.Fprintln(p.Stderr, "The control plane does not answer; waiting for it.")
			away = true
		case err == nil:
			shown, away = true, false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// warn says what is wrong with Envoys, or that none is there to spend the keys. now is Keywheel's time.
func (p *Program) warn(ctx context.Context, running *running, now time.Time) error {
	proxies, err := running.Proxies(ctx)
	if err != nil {
		return running.explain(err)
	}
	for i := range proxies {
		if wrong := troubles(&proxies[i], now); wrong != "" {
			if _, err := fmt.Fprintf(p.Stderr, "⚠️ %s\n", wrong); err != nil {
				return err
			}
		}
	}
	if slices.ContainsFunc(proxies, func(proxy admin.Proxy) bool { return proxy.Connected }) {
		return nil
	}
	_, err = fmt.Fprintln(p.Stderr, "No Envoy is connected to this control plane.")
	return err
}

func (p *Program) keysCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "List the keys, or change them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := p.connect()
			if err != nil {
				return err
			}
			keys, err := running.Keys(cmd.Context())
			if err != nil {
				return running.explain(err)
			}
			if asJSON {
				return writeJSON(p.Stdout, keys)
			}
			return p.printf("%s", keyTable(keys))
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.AddCommand(p.forgetSealedCommand(), p.clearCommand(), p.addKeyCommand(), p.setKeyCommand(), p.replaceKeyCommand(), p.removeKeyCommand(),
		p.switchCommand("disable", "Take a key out of service; what it spent stays counted", "is disabled", true),
		p.switchCommand("enable", "Put a disabled key back into service", "is enabled", false))
	return cmd
}

func (p *Program) clearCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clear ID",
		Short: "Forget what Groq's answers taught about a key, so that it is tried again",
		Long: `Takes back what Groq's answers taught about the key and the others of its organization
(cooling, invalid, restricted), so that they are tried again. What they spent stays counted.`,
		Example: "  keywheel keys clear 1",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			running, err := p.connect()
			if err != nil {
				return err
			}
			generation, err := running.Clear(cmd.Context(), args[0])
			if err != nil {
				return running.explain(err)
			}
			return p.printf("Groq Key %s is cleared, and with it the keys of its organization (generation %d).\n", printable(args[0]), generation)
		},
	}
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON, as the admin API gives it")
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// keyTable lists keys with all that people may want to look up.
func keyTable(keys []admin.Key) string {
	rows := [][]string{{"ID", "LABEL", "PRIORITY", "TIER", "ORG", "STATUS", "IN USE", "TOKENS", "LIMIT", "REQUESTS", "LIMIT", "HEALTH", "SCORE"}}
	for _, key := range keys {
		inUse := "-"
		if key.Active {
			inUse = "yes"
		}
		rows = append(rows, []string{
			printable(key.ID), printable(key.Label), fmt.Sprint(key.Priority), key.Tier, printable(key.Org), printable(key.Status), inUse,
			quota.Group(key.UsedTokens), orNone(key.LimitTokens), quota.Group(key.Requests), orNone(key.LimitRequests),
			fmt.Sprintf("%.1f%%", key.Health), fmt.Sprintf("%.1f", key.Score),
		})
	}
	return table(rows)
}

func orNone(limit *int64) string {
	if limit == nil {
		return "none"
	}
	return quota.Group(*limit)
}

// running is a control plane that is thought to run.
type running struct {
	*client.Client
	addr      string
	tokenFrom string // where the token was found, or was looked for
}

// connect finds out where a control plane with these settings would be, and its token.
func (p *Program) connect() (*running, error) {
	cfg, _, err := p.load(true)
	if err != nil {
		return nil, err
	}
	token, from, err := adminToken(cfg)
	if err != nil {
		return nil, err
	}
	addr := cfg.AdminAddr.Dial()
	return &running{Client: client.New(addr, token), addr: addr, tokenFrom: from}, nil
}

// adminToken finds the token of the admin API, and says where. No token at all is no error: perhaps nothing runs yet,
// and that is the better message.
func adminToken(cfg *config.Config) (token secret.Key, from string, err error) {
	if !cfg.AdminToken.IsZero() {
		return cfg.AdminToken, "KEYWHEEL_ADMIN_TOKEN", nil
	}
	path := filepath.Join(cfg.StoreDir(), admin.TokenFile)
	token, err = admin.LoadToken(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !cfg.AdminReadToken.IsZero() {
			return cfg.AdminReadToken, "KEYWHEEL_ADMIN_READ_TOKEN", nil
		}
		return secret.Key{}, "KEYWHEEL_ADMIN_TOKEN (not set) and " + path + " (not there)", nil
	}
	return token, path, err
}

// explain says where was looked and what to try.
func (r *running) explain(err error) error {
	switch {
	case errors.Is(err, client.ErrUnreachable):
		return hinted{fmt.Errorf("%w (looked at %s)", err, r.addr),
			"Start one with `keywheel run`. If it listens elsewhere, set KEYWHEEL_ADMIN_ADDR here as it is set there."}
	case errors.Is(err, client.ErrUnauthorized):
		return hinted{fmt.Errorf("%w (at %s; looked for the token in %s)", err, r.addr, r.tokenFrom),
			"Set KEYWHEEL_STORE here as it is set there, or KEYWHEEL_ADMIN_TOKEN to what " +
				"follows #token= in the dashboard's address that `keywheel run` printed."}
	case errors.Is(err, client.ErrNotKeywheel):
		return hinted{fmt.Errorf("%w (at %s)", err, r.addr), "Set KEYWHEEL_ADMIN_ADDR to where `keywheel run` or `keywheel serve` listens."}
	}
	return err
}
