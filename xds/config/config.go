// Package config reads Keywheel's settings from the environment, a .env file and keywheel.yaml into one validated value,
// and anew when a file changes.
//
// The rules are:
//   - The environment wins over .env, and that over keywheel.yaml. An empty value is as good as none.
//   - keywheel.yaml says the same settings by names of its own; what is judged is judged once, wherever it is written.
//   - Load reads everything and then says everything that is wrong at once: one line for each problem, with the
//     setting's name as it was written, what is wrong, and what to write instead.
//   - No message ever holds a secret's value, nor any value that looks like one.
//   - A Config never changes: a new configuration is a new Load, all of it or, if anything is wrong, nothing.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
)

// Config is every setting that has an effect. Its zero fields mean what their comments say.
type Config struct {
	Keys     []Key // in rank order: by priority, then by number; empty only if Options.KeysOptional
	Upstream Upstream

	Strategy       Strategy
	RequiredTokens int64 // what every request is taken to need; 0: estimated for each
	Thresholds     []int // percent, ascending; each key has its own copy
	ReportInterval time.Duration
	PushInterval   time.Duration
	HistoryDays    int

	StorePath      string // absolute
	ListenAddr     Address
	EnvoyAdminAddr Address
	AdminAddr      Address
	XDSAddr        Address    // zero: not set; see RunXDSAddr and ServeXDSAddr
	XDSInsecure    bool       // plain xDS to other machines was asked for by name
	TLS            *TLS       // by which xDS is served over TCP; nil: in the clear
	ProxyToken     secret.Key // gives the assignment to filters that another control plane configures; zero: to none
	AdminToken     secret.Key
	AdminReadToken secret.Key
	MasterKeys     []secret.Key // the first seals what is stored, all open it; empty: nothing can be sealed
	WasmPath       string       // absolute path of the module, or of the directory for the one in the binary; empty: that one beside the store

	EnvoyConcurrency int // worker threads; 0: one for each core
	LogLevel         slog.Level
	LogFormat        LogFormat

	CallerHeader string // of a request, in small letters, by which use is counted; empty: it is not counted by caller
	UseKeyHeader bool   // a client may ask for one key by x-keywheel-use-key

	Notify Notify

	read sources // the files that all this came from
}

// Key is one Groq key, in the order in which it is preferred.
type Key struct {
	ID            string // "1"
	Secret        secret.Key
	Label         string   // "Primary"
	LabelByRank   bool     // nobody gave the label: it goes by the rank
	Priority      int      // lower first
	LimitTokens   int64    // a day; 0: no limit
	LimitRequests int64    // a day; 0: no limit
	Org           string   // keys with the same one share what is learned of its limits
	Tier          string   // "free" or "paid"
	Thresholds    []int    // percent, ascending
	Disabled      bool     // no call is given it
	Models        []string // the only ones that it serves, by their exact names; empty: every model
	Source        Source   // of its secret
}

// Source says where a key comes from.
type Source string

// The sources.
const (
	SourceEnvironment Source = "environment" // or .env
	SourceFile        Source = "file"        // keywheel.yaml
	SourceAPI         Source = "api"         // added while running
)

// Strategy says how a key is chosen among those that can serve.
type Strategy string

// The strategies.
const (
	Priority Strategy = "priority" // by priority; among equals, more quota first
	Balanced Strategy = "balanced" // by score, without rank
)

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// TierFree and TierPaid are what a key's tier may be.
const (
	TierFree = "free"
	TierPaid = "paid"
)

// maxSocketPath is the longest path of a Unix socket that every supported system takes, in bytes.
const maxSocketPath = 103

// StoreDir is the directory of the store; the token and the socket of `keywheel run` lie in it too.
func (c *Config) StoreDir() string { return filepath.Dir(c.StorePath) }

// RunXDSAddr is where `keywheel run` serves xDS and takes reports: KEYWHEEL_XDS_ADDR, else a Unix socket beside the
// store. The error says what to set if the socket's path would be too long.
func (c *Config) RunXDSAddr() (Address, error) {
	if !c.XDSAddr.IsZero() {
		return c.XDSAddr, nil
	}
	path := filepath.Join(c.StoreDir(), "keywheel.sock")
	if len(path) > maxSocketPath {
		return Address{}, Problem{Name: "KEYWHEEL_XDS_ADDR",
			Wrong: fmt.Sprintf("the socket beside the store, %s, has a path of more than %d bytes", path, maxSocketPath),
			Fix:   "write a shorter one, such as unix:/run/keywheel/xds.sock"}
	}
	return Address{Unix: path}, nil
}

// ServeXDSAddr is where `keywheel serve` serves xDS and takes reports: KEYWHEEL_XDS_ADDR, else port 18000 of
// this machine alone.
func (c *Config) ServeXDSAddr() Address {
	if !c.XDSAddr.IsZero() {
		return c.XDSAddr
	}
	return loopback(defaultXDSPort)
}

// Demo limits: small enough that twenty calls see every key run out.
const (
	demoKeys  = 3
	demoLimit = 600 // tokens a day
)

// ForDemo returns a copy of c for the demonstration: made-up keys against the simulated Groq at upstream, and a store in
// dir, so that neither a true key nor the true account is touched. It tells nobody outside.
func (c *Config) ForDemo(upstream Upstream, dir string) (*Config, error) {
	if !upstream.Loopback() {
		return nil, errors.New("the demo needs an upstream on this machine")
	}
	demo := *c
	demo.Upstream = upstream
	demo.StorePath = filepath.Join(dir, storeFile)
	demo.XDSAddr = Address{}
	demo.TLS = nil
	demo.Notify = Notify{}
	demo.Keys = nil
	for n := range demoKeys {
		id := fmt.Sprint(n + 1)
		demo.Keys = append(demo.Keys, Key{ID: id, Secret: secret.New("gsk_demo_key_" + id), Label: quota.RankLabel(n), LabelByRank: true,
			Priority: n + 1, LimitTokens: demoLimit, Org: OwnOrg(id), Tier: TierFree, Thresholds: slices.Clone(c.Thresholds), Source: SourceEnvironment})
	}
	return &demo, nil
}
