package app

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/mattn/go-isatty"

	"keywheel/e2e/fakegroq"
	"keywheel/xds/config"
)

// demo is the simulated Groq that `keywheel run --demo` serves from, the same that the tests use, and a store that is
// gone afterwards.
type demo struct {
	config *config.Config
	groq   *fakegroq.Server
	dir    string
}

// Tokens that each answer of the demo costs: six calls use up a key.
const (
	demoPrompt     = 20
	demoCompletion = 80
)

func startDemo(c *config.Config) (*demo, error) {
	groq, err := fakegroq.Start(fakegroq.Options{TokensFor: fakegroq.FixedTokens(demoPrompt, demoCompletion), Remember: -1})
	if err != nil {
		return nil, fmt.Errorf("starting the simulated Groq: %w", err)
	}
	dir, err := os.MkdirTemp("", "keywheel-demo-")
	if err != nil {
		return nil, errors.Join(err, groq.Close())
	}
	d := &demo{groq: groq, dir: dir}
	addr, err := netip.ParseAddrPort(groq.Addr())
	if err == nil {
		d.config, err = c.ForDemo(config.Upstream{Host: addr.Addr().String(), Port: int(addr.Port())}, dir)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.config.RequiredTokens = demoPrompt + demoCompletion
	for _, k := range d.config.Keys {
		groq.AddKey(fakegroq.Key{Secret: k.Secret.Reveal(), Name: "key " + k.ID})
	}
	return d, nil
}

func (d *demo) close() error {
	return errors.Join(d.groq.Close(), os.RemoveAll(d.dir))
}

func terminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }
