package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
)

func (p *Program) proxiesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "proxies",
		Short: "List the Envoys that spend the keys, or void what one counted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := p.connect()
			if err != nil {
				return err
			}
			proxies, err := running.Proxies(cmd.Context())
			if err != nil {
				return running.explain(err)
			}
			if asJSON {
				return writeJSON(p.Stdout, proxies)
			}
			return p.printf("%s", proxyTable(proxies))
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.AddCommand(p.voidCommand())
	return cmd
}

func (p *Program) voidCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "void INCARNATION",
		Short: "Take out of the account what an Envoy counted, and refuse its reports",
		Long: `For an Envoy process whose counts cannot be right. What it counted yesterday and today is no longer
in the account, and what it might have spent is free for others. Start that Envoy again: its new
process is counted as any other.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return errors.New("this takes what the Envoy counted out of the account for good: say --yes if you mean it; `keywheel proxies` lists them")
			}
			running, err := p.connect()
			if err != nil {
				return err
			}
			if err := running.Void(cmd.Context(), args[0]); err != nil {
				return running.explain(err)
			}
			return p.printf("Envoy %s is voided. Start it again to have it counted.\n", printable(args[0]))
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func proxyTable(proxies []admin.Proxy) string {
	rows := [][]string{{"INCARNATION", "NODE", "VERSION", "STATE", "REPORTS", "LAST REPORT", "CLOCK", "REFUSED"}}
	for i := range proxies {
		x := &proxies[i]
		version, last := "-", "-"
		if x.Version != nil {
			version = printable(*x.Version)
		}
		if x.LastReport != nil {
			last = x.LastReport.Format(time.RFC3339)
		}
		rows = append(rows, []string{
			printable(x.Incarnation), printable(x.Node), version, stateOf(x), quota.Group(x.Reports), last,
			fmt.Sprintf("%+.1fs", float64(x.SkewMS)/1000), fmt.Sprint(x.Rejected),
		})
	}
	return table(rows)
}

func stateOf(x *admin.Proxy) string {
	switch {
	case x.Voided:
		return "voided"
	case x.Connected:
		return "connected"
	}
	return "gone"
}
