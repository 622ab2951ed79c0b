package config

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
)

// loadKeys reads every key that is set and what is said of it.
func (l *loader) loadKeys(c *Config) {
	c.Thresholds = l.thresholds("KEYWHEEL_THRESHOLDS", DefaultThresholds())
	numbers := l.keyNumbers()
	if len(numbers) == 0 && len(l.file.described) == 0 && len(l.file.strays) == 0 {
		l.noKeys()
	}
	seen := make(map[[32]byte]string) // secret → the setting that holds it
	for _, n := range numbers {
		if key, ok := l.loadKey(n, c.Thresholds, seen); ok {
			c.Keys = append(c.Keys, key)
		}
	}
	l.checkDescribed(numbers)
	l.warnOrphans(numbers)
	slices.SortFunc(c.Keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	for rank := range c.Keys {
		if k := &c.Keys[rank]; k.Label == "" {
			k.Label, k.LabelByRank = quota.RankLabel(rank), true
		}
	}
}

// keyNumbers are the numbers of all keys that are set, ascending. GROQ_API_KEY is number 1.
func (l *loader) keyNumbers() []int {
	var numbers []int
	for _, name := range l.names() {
		m := keyName.FindStringSubmatch(strings.TrimSuffix(name, fileSuffix))
		if m == nil {
			continue
		}
		n := 1
		if m[1] != "" {
			n, _ = strconv.Atoi(m[1]) // the pattern lets only numbers through
		}
		if !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// noKeys tells where a key was looked for.
func (l *loader) noKeys() {
	if l.opts.KeysOptional {
		return
	}
	wrong := "looked for GROQ_API_KEY and GROQ_API_KEY_1, GROQ_API_KEY_2, … (each also as …_FILE) in the environment and in " +
		l.absolute(l.opts.DotEnvPath) + ", and for keys in " + l.absolute(l.file.path)
	var empty []string
	for _, level := range l.levels() {
		for name := range level {
			if keyName.MatchString(strings.TrimSuffix(name, fileSuffix)) {
				empty = append(empty, name)
			}
		}
	}
	if len(empty) > 0 {
		slices.Sort(empty)
		wrong += "; set but empty: " + strings.Join(slices.Compact(empty), ", ")
	}
	l.problems = append(l.problems, Problem{Name: ErrNoKeys.Error(), Wrong: wrong,
		Fix: "write GROQ_API_KEY_1=gsk_… into one of the first two, or try `keywheel run --demo`", Err: ErrNoKeys})
}

// loadKey reads key number n. ok is false if it cannot be used; why is then among the problems.
func (l *loader) loadKey(n int, thresholds []int, seen map[[32]byte]string) (key Key, ok bool) {
	id := strconv.Itoa(n)
	name, e, ok := l.keySecret(n)
	if ok {
		key.Secret, ok = l.checkSecret(name, e, seen)
	}
	key.Source = SourceEnvironment
	if e.path != "" {
		key.Source = SourceFile
	}
	field := "GROQ_KEY_" + id + "_"
	key.ID = id
	key.Label = l.text(field + "LABEL")
	key.Org = cmp.Or(l.text(field+"ORG"), OwnOrg(id))
	key.Tier = choice(l, field+"TIER", TierFree, tiers)
	key.Priority = l.number(field+"PRIORITY", n, 1, MaxPriority)
	key.LimitTokens = l.count(field+"DAILY_LIMIT", "none", MaxCount)
	key.LimitRequests = l.count(field+"DAILY_REQUESTS", "none", MaxCount)
	key.Thresholds = l.thresholds(field+"THRESHOLDS", thresholds)
	key.Models = l.models(field + "MODELS")
	key.Disabled = l.boolean(field + "DISABLED")
	return key, ok
}

// keySecret finds the secret of key number n and the setting that holds it.
func (l *loader) keySecret(n int) (name string, e entry, ok bool) {
	name = "GROQ_API_KEY_" + strconv.Itoa(n)
	if n != 1 {
		e, ok = l.lookupSecret(name)
		return name, e, ok
	}
	bare, bareSet := l.lookupSecret("GROQ_API_KEY")
	if bareSet && l.called(name) != name { // as everywhere, the environment and .env win over keywheel.yaml
		return "GROQ_API_KEY", bare, true
	}
	numbered, numberedSet := l.lookupSecret(name)
	switch {
	case !numberedSet:
		return "GROQ_API_KEY", bare, bareSet
	case bareSet && bare.value != numbered.value:
		l.warn("GROQ_API_KEY", "it is not used, as GROQ_API_KEY_1 is set; to use both, give it a number of its own")
	}
	return name, numbered, true
}

// checkSecret refuses what cannot be a key, and what another setting holds already.
func (l *loader) checkSecret(name string, e entry, seen map[[32]byte]string) (secret.Key, bool) {
	if wrong := CheckSecret(e.value); wrong != "" {
		l.problem(name, e, wrong, "write the key as Groq's console shows it, gsk_…")
		return secret.Key{}, false
	}
	key := secret.New(e.value)
	if other, twice := seen[key.Hash()]; twice {
		l.problem(name, e, "it is the same key as "+other, "write another key, or remove one of the two")
		return secret.Key{}, false
	}
	seen[key.Hash()] = e.called(name)
	if !strings.HasPrefix(e.value, "gsk_") {
		l.warn(name, "it does not begin with gsk_, as Groq's keys do")
	}
	return key, true
}

// text reads a label or the name of an organization.
func (l *loader) text(name string) string {
	e, set := l.lookup(name)
	if !set {
		return ""
	}
	wrong := CheckText(e.value)
	if wrong == "" && l.holdsSecret(e.value) {
		wrong = looksLikeKey
	}
	if wrong == "" {
		return e.value
	}
	l.problem(name, e, wrong, "write a short name, such as Primary")
	return ""
}

// checkDescribed refuses keys of keywheel.yaml that have no secret anywhere.
func (l *loader) checkDescribed(numbers []int) {
	for _, n := range slices.Sorted(maps.Keys(l.file.described)) {
		if slices.Contains(numbers, n) {
			continue
		}
		e, name := l.file.described[n], "GROQ_API_KEY_"+strconv.Itoa(n)
		if l.opts.KeysOptional {
			l.warn(e.path, "it has no effect, as it has no secret")
			continue
		}
		l.problem(e.path, e, "it has no secret", "write secret_file: and the path of a file that holds it, or set "+name+", or remove the key")
	}
}

// warnOrphans tells of what is said about keys that do not exist.
func (l *loader) warnOrphans(numbers []int) {
	for _, name := range l.names() {
		m := keyFieldName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		if _, described := l.file.described[n]; !described && !slices.Contains(numbers, n) {
			l.warn(name, "it has no effect, as GROQ_API_KEY_"+m[1]+" is not set")
		}
	}
}
