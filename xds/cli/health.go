package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"keywheel/shared/secret"
	"keywheel/xds/client"
)

// healthCommand is for the health check of a container that has no shell and no curl.
func (p *Program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Say whether a running control plane can serve Envoys",
		Long: `Asks the control plane at KEYWHEEL_ADMIN_ADDR whether it can serve Envoys, as /readyz says, and ends with exit code 0
if it can. No token and no key is needed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := p.load(true)
			if err != nil {
				return err
			}
			addr := cfg.AdminAddr.Dial()
			running := &running{Client: client.New(addr, secret.Key{}), addr: addr}
			missing, err := running.Ready(cmd.Context())
			if err != nil {
				return running.explain(err)
			}
			if len(missing) > 0 {
				return fmt.Errorf("the control plane cannot serve Envoys: it lacks its %s", printable(strings.Join(missing, ", ")))
			}
			return p.printf("The control plane serves Envoys.\n")
		},
	}
}
