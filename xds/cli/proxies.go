package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
	"keywheel/xds/ledger"
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
	rows := [][]string{{"INCARNATION", "NODE", "VERSION", "STATE", "REPORTS", "LAST REPORT", "CLOCK", "REFUSED", "SET ASIDE", "BUGS"}}
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
			fmt.Sprintf("%+.1fs", float64(x.SkewMS)/1000), quota.Group(x.Rejected), quota.Group(x.Quarantined), quota.Group(x.Panics),
		})
	}
	return table(rows)
}

// stillRuns is how long after a report of a voided Envoy was refused it is taken to run: three of the longest intervals.
const stillRuns = 3 * time.Minute

// troubles is what a person must know of an Envoy, in one line; empty if all is well. now is Keywheel's time.
func troubles(x *admin.Proxy, now time.Time) string {
	var wrong []string
	switch {
	case x.Voided && x.LastRefused != nil && now.Sub(*x.LastRefused) <= stillRuns:
		wrong = append(wrong, "it is voided and still runs, so what it spends is not counted; start it again")
	case x.Voided:
		wrong = append(wrong, "it is voided: what it counted is not in the account")
	}
	if x.Quarantined > 0 {
		wrong = append(wrong, quota.Group(x.Quarantined)+" tokens that it reported were set aside, as no requests explain them")
	}
	if skew := time.Duration(x.SkewMS) * time.Millisecond; x.Connected && skew.Abs() > ledger.FarOff {
		side := "ahead"
		if skew < 0 {
			side = "behind"
		}
		wrong = append(wrong, "its clock is "+skew.Abs().Round(time.Second).String()+" "+side)
	}
	if x.Connected && x.Rejected > 0 {
		refused := "assignments that it refused: " + quota.Group(x.Rejected)
		if x.LastError != nil {
			refused += " (" + shorten(printableLine(*x.LastError), 200) + ")"
		}
		wrong = append(wrong, refused)
	}
	if x.Panics > 0 {
		wrong = append(wrong, "bugs that its filter met: "+quota.Group(x.Panics)+"; please report what its log says")
	}
	if len(wrong) == 0 {
		return ""
	}
	name := "Envoy " + printable(x.Node)
	if x.Incarnation != "" {
		name += " (" + printable(x.Incarnation) + ")"
	}
	return name + ": " + strings.Join(wrong, "; ")
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
