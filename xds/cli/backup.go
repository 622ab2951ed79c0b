package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"keywheel/xds/app"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/client"
	"keywheel/xds/clock"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
)

func (p *Program) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of the account and the keys to a new file",
		Long: `Writes what the store has at this moment to a new file, which only you can read: the account,
what was changed of keys, the audit, events and messages. Secrets in it are sealed, as they are
in the store. It works while Keywheel runs, and while it does not.`,
		Example: "  keywheel backup /var/backups/keywheel-$(date +%F).db",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.backUp(cmd.Context(), args[0]) },
	}
}

func (p *Program) backUp(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s is there already; name a new file", printable(path))
	}
	running, err := p.connect()
	if err != nil {
		return err
	}
	err = fetch(ctx, running, path)
	if errors.Is(err, client.ErrUnreachable) {
		stopped, failed := p.stopped()
		if failed != nil {
			return failed
		}
		if err = stopped.Save(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no store at %s, and no control plane answers at %s", stopped.Path, running.addr)
		}
		err = p.held(running, err)
	}
	if err != nil {
		return running.explain(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return p.printf("%s has the backup, %d KiB.\n", printable(path), (info.Size()+1023)/1024)
}

// fetch has a running control plane make a backup, and writes it to a new file once it is whole.
func fetch(ctx context.Context, running *running, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = running.Backup(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	got, err := bolt.OpenReadOnly(f.Name(), bolt.Options{})
	if err != nil {
		return fmt.Errorf("what came is not whole: %s", bolt.Reason(err))
	}
	return errors.Join(got.Backup(path), got.Close()) // which overwrites nothing
}

func (p *Program) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the account and the keys",
		Long: `Puts a backup in the place of what the store has. The file that was there is kept beside it.
It works while Keywheel runs, without a call that fails, and while it does not. What living
Envoys counted since the backup comes back with their next reports.`,
		Example: "  keywheel restore /var/backups/keywheel-2025-11-18.db",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.restore(cmd.Context(), args[0]) },
	}
}

func (p *Program) restore(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	running, err := p.connect()
	if err != nil {
		return err
	}
	restored, err := running.Restore(ctx, f)
	if errors.Is(err, client.ErrUnreachable) {
		return p.restoreStopped(ctx, running, path)
	}
	if err != nil {
		return running.explain(err)
	}
	if err := p.printf("The backup is restored. What was there is kept in %s.\n", printable(restored.Kept)); err != nil {
		return err
	}
	return p.waitInEffect(ctx, running, restored.Generation)
}

func (p *Program) restoreStopped(ctx context.Context, running *running, path string) error {
	stopped, err := p.stopped()
	if err != nil {
		return err
	}
	kept, err := stopped.Restore(ctx, path, audit.Entry{Who: audit.Shell})
	if err != nil {
		return p.held(running, err)
	}
	return p.printf("The backup is restored to %s.%s It is in force when Keywheel starts.\n", stopped.Path, keptIn(kept))
}

func keptIn(kept string) string {
	if kept == "" {
		return ""
	}
	return " What was there is kept in " + kept + "."
}

func (p *Program) forgetSealedCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "forget-sealed",
		Short: "Take every sealed secret out of the store: the way out where the master key is lost",
		Long: `Takes the secrets that came by the API, the page or the command line out of the store of a
Keywheel that does not run. The account stays. Keys that the settings name have the settings' secret
again; others are gone until a secret is named for them, and have then what was set of them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return errors.New("this takes every sealed secret out of the store: say --yes if you mean it; with the master key none need be")
			}
			return p.forgetSealed(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p *Program) forgetSealed(ctx context.Context) error {
	stopped, err := p.stopped()
	if err != nil {
		return err
	}
	forgotten, kept, err := stopped.ForgetSealed(ctx, audit.Entry{Who: audit.Shell})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no store at %s", stopped.Path)
	case errors.Is(err, store.ErrLocked):
		return hinted{errors.New(bolt.Reason(err)), "A Keywheel that runs has its master key: change its keys with `keywheel keys`, or stop it first."}
	case err != nil:
		return err
	case len(forgotten) == 0:
		return p.printf("No sealed secret is in %s.\n", stopped.Path)
	}
	return p.printf("The secrets of these keys are forgotten: %s.%s\n", printable(strings.Join(forgotten, ", ")), keptIn(kept))
}

// stopped is the store of these settings, as long as no control plane runs on it.
func (p *Program) stopped() (*backup.Stopped, error) {
	cfg, _, err := p.load(true)
	if err != nil {
		return nil, err
	}
	route, err := app.Route(cfg)
	if err != nil {
		return nil, err
	}
	return &backup.Stopped{Path: cfg.StorePath, Log: slog.New(slog.DiscardHandler), Now: clock.Real().Now, Route: route}, nil
}

// held says what to do about a store that a control plane has which does not answer here.
func (p *Program) held(running *running, err error) error {
	if !errors.Is(err, store.ErrLocked) {
		return err
	}
	return hinted{fmt.Errorf("%s, but no control plane answers at %s", bolt.Reason(err), running.addr),
		"If it listens elsewhere, set KEYWHEEL_ADMIN_ADDR here as it is set there; else stop it."}
}
