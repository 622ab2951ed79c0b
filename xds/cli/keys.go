package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"keywheel/xds/admin"
)

// keyFlags are what can be set of a key.
type keyFlags struct {
	label, tier, org, secretFile string
	priority                     int
	limit, requests              string
	models                       []string
	thresholds                   []int
	secretStdin                  bool
}

// add declares the flags. A secret is no flag's value: others could read it in the list of processes.
func (f *keyFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.label, "label", "", "the `name` it is shown by; empty: by its rank")
	flags.IntVar(&f.priority, "priority", 0, "lower `numbers` go first")
	flags.StringVar(&f.tier, "tier", "", "free or paid")
	flags.StringVar(&f.org, "org", "", "the `name` of its organization at Groq; empty: one of its own")
	flags.StringVar(&f.limit, "limit", "", "`tokens` a day, or none")
	flags.StringVar(&f.requests, "requests", "", "`requests` a day, or none")
	flags.StringSliceVar(&f.models, "models", nil, "the only `models` that it may be used for; empty: every model")
	flags.IntSliceVar(&f.thresholds, "thresholds", nil, "`percents` of a limit at which people are told")
	f.addSecret(flags)
}

func (f *keyFlags) addSecret(flags *pflag.FlagSet) {
	flags.StringVar(&f.secretFile, "secret-file", "", "read the secret from this `file`")
	flags.BoolVar(&f.secretStdin, "secret-stdin", false, "read the secret from standard input")
}

// fields are what the flags that were given set.
func (f *keyFlags) fields(flags *pflag.FlagSet, stdin io.Reader) (admin.KeyFields, error) {
	var out admin.KeyFields
	var err error
	flags.Visit(func(flag *pflag.Flag) {
		var failed error
		switch flag.Name {
		case "label":
			out.Label = &f.label
		case "priority":
			out.Priority = &f.priority
		case "tier":
			out.Tier = &f.tier
		case "org":
			out.Org = &f.org
		case "limit":
			out.LimitTokens, failed = limitOf("--limit", f.limit)
		case "requests":
			out.LimitRequests, failed = limitOf("--requests", f.requests)
		case "models":
			models := slices.DeleteFunc(f.models, func(m string) bool { return m == "" })
			out.Models = &models
		case "thresholds":
			out.Thresholds = &f.thresholds
		}
		err = errors.Join(err, failed)
	})
	secret, failed := f.secret(stdin)
	if secret != "" {
		out.Secret = &secret
	}
	return out, errors.Join(err, failed)
}

// limitOf reads a limit: a number, with commas between thousands if need be, or none.
func limitOf(name, text string) (admin.Limit, error) {
	if strings.EqualFold(text, "none") {
		return admin.NewLimit(0), nil
	}
	var n int64
	if _, err := fmt.Sscanf(strings.NewReplacer(",", "", "_", "").Replace(text)+"\n", "%d\n", &n); err != nil || n < 1 {
		return admin.Limit{}, fmt.Errorf("%s: %q is no limit; write a number such as 20000, or none", name, printable(text))
	}
	return admin.NewLimit(n), nil
}

// maxSecretFile is the most that is read of a secret, in bytes.
const maxSecretFile = 64 << 10

// secret reads the secret from where the flags say; empty if they say nothing.
func (f *keyFlags) secret(stdin io.Reader) (string, error) {
	var content []byte
	var err error
	switch {
	case f.secretFile != "" && f.secretStdin:
		return "", errors.New("--secret-file and --secret-stdin: give one of them")
	case f.secretFile != "":
		content, err = os.ReadFile(f.secretFile)
	case f.secretStdin:
		content, err = io.ReadAll(io.LimitReader(stdin, maxSecretFile))
	default:
		return "", nil
	}
	text := strings.TrimSpace(string(content))
	if err == nil && text == "" {
		err = errors.New("there is no secret in it")
	}
	var of *fs.PathError
	if errors.As(err, &of) {
		err = of.Err // without the path: it may be the secret itself, in the wrong place
	}
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	return text, nil
}

// noSecret refuses arguments without repeating them: they are most likely the secret.
func noSecret(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("it takes no argument, as others can read those in the list of processes: give --secret-file or --secret-stdin")
	}
	return nil
}

func (p *Program) addKeyCommand() *cobra.Command {
	var f keyFlags
	var id string
	cmd := &cobra.Command{
		Use:     "add",
		Short:   "Add a key; its secret is read from a file or standard input",
		Example: "  keywheel keys add --secret-file /run/secrets/groq-4 --label \"Team B\" --limit 500000\n  pass groq | keywheel keys add --secret-stdin",
		Args:    noSecret,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fields, err := f.fields(cmd.Flags(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			if fields.Secret == nil {
				return errors.New("a new key needs its secret: give --secret-file or --secret-stdin")
			}
			key := admin.NewKey{KeyFields: fields}
			if id != "" {
				key.ID = &id
			}
			return p.edit(cmd.Context(), "is added", func(running *running) (admin.Changed, error) { return running.AddKey(cmd.Context(), key) })
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "the key's `ID`; by default the lowest number that is free")
	f.add(cmd.Flags())
	return cmd
}

func (p *Program) setKeyCommand() *cobra.Command {
	var f keyFlags
	cmd := &cobra.Command{
		Use:               "set ID",
		Short:             "Change a key",
		Example:           "  keywheel keys set 2 --limit 20000 --priority 1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := f.fields(cmd.Flags(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			if fields.Empty() {
				return hinted{errors.New("nothing to change is named"), "See `keywheel keys set --help`."}
			}
			return p.change(cmd.Context(), args[0], "is changed", fields)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (p *Program) replaceKeyCommand() *cobra.Command {
	var f keyFlags
	cmd := &cobra.Command{
		Use:               "replace ID",
		Short:             "Give a key another secret, read from a file or standard input; its usage starts at zero",
		Example:           "  keywheel keys replace 1 --secret-file /run/secrets/groq-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := f.fields(cmd.Flags(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			if fields.Secret == nil {
				return errors.New("the new secret is missing: give --secret-file or --secret-stdin")
			}
			return p.change(cmd.Context(), args[0], "has its new secret", fields)
		},
	}
	f.addSecret(cmd.Flags())
	return cmd
}

// switchCommand disables or enables a key.
func (p *Program) switchCommand(use, short, done string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " ID", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.change(cmd.Context(), args[0], done, admin.KeyFields{Disabled: &disabled})
		},
	}
}

func (p *Program) removeKeyCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove ID", Short: "Remove a key", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return fmt.Errorf("this removes Groq Key %s and its secret: say --yes if you mean it; disable keeps both", printable(args[0]))
			}
			return p.edit(cmd.Context(), "is removed", func(running *running) (admin.Changed, error) { return running.RemoveKey(cmd.Context(), args[0]) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p *Program) change(ctx context.Context, id, done string, fields admin.KeyFields) error {
	return p.edit(ctx, done, func(running *running) (admin.Changed, error) { return running.ChangeKey(ctx, id, fields) })
}

// edit makes a change and says when every Envoy goes by it.
func (p *Program) edit(ctx context.Context, done string, change func(*running) (admin.Changed, error)) error {
	running, err := p.connect()
	if err != nil {
		return err
	}
	changed, err := change(running)
	if err != nil {
		return running.explain(err)
	}
	if err := p.printf("Groq Key %s %s.\n", printable(changed.ID), done); err != nil {
		return err
	}
	return p.waitInEffect(ctx, running, changed.Generation)
}

// How long the command waits for Envoys to follow a change, and how often it looks.
const (
	effectTime = 10 * time.Second
	effectLook = 100 * time.Millisecond
)

// waitInEffect says once every Envoy goes by a generation, or that one does not yet.
func (p *Program) waitInEffect(ctx context.Context, running *running, generation int64) error {
	deadline := time.After(effectTime)
	for {
		proxies, err := running.Proxies(ctx)
		if err != nil {
			return running.explain(err)
		}
		connected, behind := 0, 0
		for _, proxy := range proxies {
			if proxy.Connected {
				connected++
				if min(proxy.Generation, proxy.Config) < generation { // allowances come by one way, keys by another
					behind++
				}
			}
		}
		switch {
		case connected == 0:
			return p.printf("No Envoy is connected; it is in effect for those that come.\n")
		case behind == 0:
			return p.printf("It is in effect on %s.\n", envoys(connected))
		}
		select {
		case <-time.After(effectLook):
		case <-deadline:
			return fmt.Errorf("%s of %s did not take the change within %s; see GET /api/v1/proxies", envoys(behind), envoys(connected), effectTime)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func envoys(n int) string {
	if n == 1 {
		return "1 Envoy"
	}
	return fmt.Sprintf("%d Envoys", n)
}

// completeKeys are the keys' IDs, for the shell.
func (p *Program) completeKeys(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	running, err := p.connect()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	keys, err := running.Keys(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, k := range keys {
		ids = append(ids, k.ID+"\t"+printable(k.Label))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
