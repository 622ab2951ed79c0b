package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
	"keywheel/xds/event"
)

func (p *Program) eventsCommand() *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened, the newest last",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > maxShown {
				return fmt.Errorf("--limit: write a number from 1 to %d", maxShown)
			}
			running, err := p.connect()
			if err != nil {
				return err
			}
			events, err := running.Events(cmd.Context(), "", limit)
			if err != nil {
				return running.explain(err)
			}
			if asJSON {
				return writeJSON(p.Stdout, events)
			}
			for i := range events {
				if err := p.printf("%s %s\n", events[i].At.Format(time.RFC3339), printable(events[i].Title)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "show at most so many")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// maxShown is the most that the API gives at once.
const maxShown = 1000

func (p *Program) summaryCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "summary [DATE]",
		Short:   "Show what a day (UTC) came to, by default today",
		Example: "  keywheel summary 2025-11-18",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			running, err := p.connect()
			if err != nil {
				return err
			}
			date, err := day(cmd, running, args)
			if err != nil {
				return err
			}
			s, err := running.Summary(cmd.Context(), date)
			if err != nil {
				return running.explain(err)
			}
			if asJSON {
				return writeJSON(p.Stdout, s)
			}
			return p.printf("%s\n", printableLines(s.Text))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// day is the date that was asked for, else the control plane's own.
func day(cmd *cobra.Command, running *running, args []string) (string, error) {
	if len(args) == 0 {
		pool, err := running.Pool(cmd.Context())
		return pool.Window, running.explain(err)
	}
	if _, err := quota.ParseWindow(args[0]); err != nil {
		return "", fmt.Errorf("%q is no date; write one such as 2025-11-18", printable(args[0]))
	}
	return args[0], nil
}

func (p *Program) notifyCommand() *cobra.Command {
	var asJSON bool
	var state string
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Show who was told of what, the newest first, or try whether messages arrive",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state != "" && !slices.Contains([]event.State{event.Waiting, event.Sent, event.Failed}, event.State(state)) {
				return errors.New("--state: write waiting, sent or failed")
			}
			running, err := p.connect()
			if err != nil {
				return err
			}
			notifications, err := running.Notifications(cmd.Context(), state, 50)
			if err != nil {
				return running.explain(err)
			}
			if asJSON {
				return writeJSON(p.Stdout, notifications)
			}
			return p.printf("%s", notificationTable(notifications))
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only those that are waiting, sent or failed")
	jsonFlag(cmd, &asJSON)
	cmd.AddCommand(p.notifyTestCommand())
	return cmd
}

func notificationTable(notifications []admin.Notification) string {
	rows := [][]string{{"TIME", "RECEIVER", "STATE", "ATTEMPTS", "WHAT", "ERROR"}}
	for _, n := range notifications {
		reason := "-"
		if n.Error != nil {
			reason = printableLine(*n.Error)
		}
		rows = append(rows, []string{
			n.At.Format(time.RFC3339), printable(n.Receiver), printable(n.State), fmt.Sprint(n.Attempts), shorten(printable(n.Title), 60), reason,
		})
	}
	return table(rows)
}

func (p *Program) notifyTestCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Send a test message to every receiver and say what came of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := p.connect()
			if err != nil {
				return err
			}
			tried, err := running.TestNotifications(cmd.Context())
			if err != nil {
				return running.explain(err)
			}
			if asJSON {
				err = writeJSON(p.Stdout, tried)
			} else {
				err = writeTried(p.Stdout, tried)
			}
			return errors.Join(err, unreached(tried))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func writeTried(w io.Writer, tried []admin.Tried) error {
	for _, t := range tried {
		line := "✅ " + printable(t.Receiver)
		if !t.OK {
			line = "❌ " + printable(t.Receiver)
		}
		if t.Error != nil {
			line += ": " + printableLine(*t.Error)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// unreached is an error if there is nobody to tell, or somebody could not be told.
func unreached(tried []admin.Tried) error {
	failed := 0
	for _, t := range tried {
		if !t.OK {
			failed++
		}
	}
	switch {
	case len(tried) == 0:
		return hinted{errors.New("no receiver is set up; only the log and the page tell of what happens"),
			"Where the control plane runs, set TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID, or SMTP_URL, ALERT_EMAIL_FROM and ALERT_EMAIL_TO,\n" +
				"or KEYWHEEL_WEBHOOK_URL, or KEYWHEEL_NOTIFY_URLS, and start it again."}
	case failed > 0:
		return fmt.Errorf("%d of %d receivers did not take the message", failed, len(tried))
	}
	return nil
}
