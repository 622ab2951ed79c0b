package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"keywheel/shared/quota"
	"keywheel/xds/app"
	"keywheel/xds/config"
	"keywheel/xds/probe"
)

func (p *Program) checkCommand() *cobra.Command {
	var live, schema bool
	var file envoyFile
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether the settings are good, and what they are; or what an Envoy configuration lacks",
		Long: `Says whether the settings are good, and what they are. With --envoy it looks at an Envoy configuration instead, and
says what of it keeps Keywheel from working, or keys from staying secret, and what to write there. It fails only for errors.`,
		Example: "  keywheel check --live\n  keywheel check --envoy /etc/envoy/envoy.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case schema:
				return p.printf("%s", config.Schema)
			case cmd.Flags().Changed("envoy"):
				return p.checkEnvoy(cmd.Context(), file)
			case file.asJSON || file.version != "":
				return errors.New("--json and --envoy-version belong to --envoy; name the file too")
			}
			cfg, warnings, err := p.load(false)
			if err != nil {
				return err
			}
			if err := p.printSettings(cfg, warnings); err != nil || !live {
				return err
			}
			return p.checkLive(cmd.Context(), cfg)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask Groq about each key too; no tokens are spent")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of keywheel.yaml instead, for editors")
	cmd.Flags().StringVar(&file.path, "envoy", "", "look at this Envoy configuration (YAML or JSON) instead; needs no settings")
	cmd.Flags().StringVar(&file.version, "envoy-version", "", "the version of the Envoy that runs it, where that is not the one on this machine")
	cmd.Flags().BoolVar(&file.asJSON, "json", false, "with --envoy: print JSON")
	cmd.MarkFlagsMutuallyExclusive("envoy", "live", "schema")
	_ = cmd.MarkFlagFilename("envoy", "yaml", "yml", "json")
	return cmd
}

// printSettings says what the settings come to.
func (p *Program) printSettings(cfg *config.Config, warnings []config.Warning) error {
	told, err := app.Told(cfg)
	if err != nil {
		return err
	}
	rows := [][]string{}
	for _, key := range cfg.Keys {
		rows = append(rows, []string{keyName(key.ID, key.Label), fmt.Sprintf("priority %d, %s, %s", key.Priority, key.Tier, limits(key))})
	}
	rows = append(rows,
		[]string{"Groq", cfg.Upstream.URL()},
		[]string{"Clients", cfg.ListenAddr.String()},
		[]string{"Envoy's admin", cfg.EnvoyAdminAddr.String()},
		[]string{"Admin API", cfg.AdminAddr.String()},
		[]string{"xDS and reports", xdsPlace(cfg)},
		[]string{"Account", cfg.StorePath},
		[]string{"Strategy", string(cfg.Strategy)},
		[]string{"Told", strings.Join(append([]string{"log", "page"}, told...), ", ")},
	)
	if err := p.printf("The settings are good. Daily limits are in tokens.\n%s", table(rows)); err != nil {
		return err
	}
	for _, w := range warnings {
		if err := p.printf("Warning: %s\n", w); err != nil {
			return err
		}
	}
	return nil
}

// xdsPlace is where xDS is served, and how.
func xdsPlace(cfg *config.Config) string {
	serve := cfg.ServeXDSAddr()
	place := serve.String()
	if cfg.TLS != nil && serve.Unix == "" {
		place += " by mutual TLS"
	}
	if cfg.XDSAddr.IsZero() {
		place = "a socket beside the store (run), " + place + " (serve)"
	}
	return place
}

// limits are a key's limits in words.
func limits(key config.Key) string {
	switch tokens, requests := quota.Group(key.LimitTokens)+" tokens a day", quota.Group(key.LimitRequests)+" requests a day"; {
	case key.LimitTokens > 0 && key.LimitRequests > 0:
		return tokens + ", " + requests
	case key.LimitTokens > 0:
		return tokens
	case key.LimitRequests > 0:
		return requests
	}
	return "no limit"
}

// checkLive asks Groq about each key. Keys that Groq does not accept make it fail.
func (p *Program) checkLive(ctx context.Context, cfg *config.Config) error {
	if err := p.printf("Asking %s about each key:\n", cfg.Upstream.URL()); err != nil {
		return err
	}
	rows, bad := [][]string{}, 0
	for i, result := range probe.NewClient(cfg.Upstream, nil).All(ctx, cfg.Keys) {
		rows = append(rows, []string{keyName(result.KeyID, cfg.Keys[i].Label), result.String()})
		if result.Verdict != probe.Works {
			bad++
		}
	}
	if err := p.printf("%s", table(rows)); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d keys cannot be used now", bad, len(cfg.Keys))
	}
	return nil
}

// keyName is a key as people see it: "Key 1 (Primary)".
func keyName(id, label string) string {
	name := "Key " + printable(cmp.Or(id, "?"))
	if label == "" {
		return name
	}
	return name + " (" + printable(label) + ")"
}
