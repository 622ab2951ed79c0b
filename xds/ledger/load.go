package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"keywheel/shared/quota"
	"keywheel/xds/ledger/store"
)

// load reads the store into memory.
func (l *Ledger) load() error {
	records := 0
	err := l.store.Load(func(r store.Record) error {
		read, ok := readers[r.Bucket]
		if !ok {
			return nil
		}
		records++
		if err := read(l, r.Key, r.Value); err != nil {
			return fmt.Errorf("%w: record %s %q: %w", store.ErrCorrupt, r.Bucket, r.Key, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the account: %w", err)
	}
	if records > 0 && l.meta.Epoch == 0 {
		return fmt.Errorf("reading the account: %w: it has %d records but not the one that says what they are; restore a backup", store.ErrCorrupt, records)
	}
	if l.tokens.Current != "" {
		published := *l.tokens
		l.token.Store(&published)
	}
	return l.link()
}

// link connects what was read. Sources that were living when the store was last written are taken to live until their
// lease passes, counted from now.
func (l *Ledger) link() error {
	mono := l.mono()
	for _, inc := range l.incarnations {
		inc.seen, inc.offeredAt = mono, l.meta.Generation
		if !inc.Dead {
			l.living[inc] = struct{}{}
		}
	}
	for _, s := range l.sources {
		s.inc = l.incarnations[s.id.incarnation]
		if s.inc == nil {
			return fmt.Errorf("reading the account: %w: usage of the unknown incarnation %s; restore a backup", store.ErrCorrupt, s.id.incarnation)
		}
		s.inc.sources[s] = struct{}{}
		l.seeModels(s)
	}
	return nil
}

// readers take in the records of each bucket.
var readers = map[string]func(l *Ledger, key string, value []byte) error{
	metaBucket:        (*Ledger).readMeta,
	credentialBucket:  (*Ledger).readCredential,
	incarnationBucket: (*Ledger).readIncarnation,
	sourceBucket:      (*Ledger).readSource,
	gateBucket:        (*Ledger).readGate,
	dayBucket:         (*Ledger).readDay,
	crossedBucket:     (*Ledger).readCrossed,
	findingBucket:     (*Ledger).readFinding,
	eventBucket:       (*Ledger).readEvent,
	noticeBucket:      (*Ledger).readNotice,
	seriesBucket:      (*Ledger).readSeries,
	documentBucket:    (*Ledger).readDocument,
	auditBucket:       (*Ledger).readAudit,
	callerBucket:      (*Ledger).readCallers,
}

func (l *Ledger) readMeta(key string, value []byte) error {
	switch key {
	case metaKey:
		return json.Unmarshal(value, l.meta)
	case tokenKey:
		return json.Unmarshal(value, l.tokens)
	}
	return nil
}

func (l *Ledger) readCredential(key string, value []byte) error {
	c := &credential{id: key}
	l.credentials[key] = c
	return json.Unmarshal(value, c)
}

func (l *Ledger) readIncarnation(key string, value []byte) error {
	inc, err := newIncarnation(key)
	if err != nil {
		return err
	}
	l.incarnations[key] = inc
	return json.Unmarshal(value, &inc.incarnationRecord)
}

// newIncarnation returns an incarnation of this ID, a UUIDv7. The error says that it is none.
func newIncarnation(id string) (*incarnation, error) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 || u.String() != id {
		return nil, fmt.Errorf("an incarnation is a UUIDv7 in small letters")
	}
	sec, nsec := u.Time().UnixTime()
	return &incarnation{id: id, started: time.Unix(sec, nsec).UTC(), conns: map[uint64]*conn{}, sources: map[*source]struct{}{}}, nil
}

func (l *Ledger) readSource(key string, value []byte) error {
	w, rest, err := cutWindow(key)
	if err != nil {
		return err
	}
	inc, cred, _ := strings.Cut(rest, "/")
	s := &source{id: sourceID{w, inc, cred}}
	if err := json.Unmarshal(value, &s.sourceRecord); err != nil {
		return err
	}
	s.tokens = grant{granted: s.GrantedTokens, offered: notOffered}
	s.requests = grant{granted: s.GrantedRequests, offered: notOffered}
	s.count()
	l.sources[s.id] = s
	return nil
}

// cutWindow splits "2025-11-18/rest".
func cutWindow(key string) (quota.Window, string, error) {
	name, rest, _ := strings.Cut(key, "/")
	w, err := quota.ParseWindow(name)
	return w, rest, err
}

func (l *Ledger) readGate(key string, value []byte) error {
	w, inc, err := cutWindow(key)
	if err != nil {
		return err
	}
	g := &gate{id: gateID{w, inc}}
	l.gates[g.id] = g
	return json.Unmarshal(value, &g.gateRecord)
}

func (l *Ledger) readDay(key string, value []byte) error {
	w, err := quota.ParseWindow(key)
	if err != nil {
		return err
	}
	d := &day{window: w}
	l.days[w] = d
	return json.Unmarshal(value, d)
}

func (l *Ledger) readCrossed(key string, value []byte) error {
	w, k, err := cutWindow(key)
	if err != nil {
		return err
	}
	c := &crossed{window: w, key: k}
	l.crossed[crossedID{w, k}] = c
	return json.Unmarshal(value, c)
}

func (l *Ledger) readFinding(_ string, value []byte) error {
	f := &finding{}
	if err := json.Unmarshal(value, f); err != nil {
		return err
	}
	l.findings[f.findingID] = f
	return nil
}

func (l *Ledger) readEvent(key string, value []byte) error {
	e := &happened{}
	if err := json.Unmarshal(value, &e.Event); err != nil {
		return err
	}
	if number(e.ID) != key {
		return fmt.Errorf("it is event %d", e.ID)
	}
	l.events = append(l.events, e) // keys, and so IDs, ascend
	return nil
}

func (l *Ledger) readNotice(key string, value []byte) error {
	n := &notice{}
	if err := json.Unmarshal(value, &n.Notification); err != nil {
		return err
	}
	seq, err := strconv.ParseInt(key, 10, 64)
	if err != nil || number(seq) != key {
		return errors.New("its key is no number")
	}
	n.Seq = seq
	l.notices = append(l.notices, n)
	return nil
}

func (l *Ledger) readSeries(key string, value []byte) error {
	w, k, err := cutWindow(key)
	if err != nil {
		return err
	}
	s := &series{window: w, key: k}
	l.series[crossedID{w, k}] = s
	if err := json.Unmarshal(value, s); err != nil {
		return err
	}
	l.usedUntil = newer(s.end(), l.usedUntil)
	return nil
}

func (l *Ledger) readDocument(key string, value []byte) error {
	if !json.Valid(value) {
		return errors.New("it is no JSON")
	}
	l.documents[key] = &document{name: key, value: value}
	return nil
}

func (l *Ledger) readAudit(key string, value []byte) error {
	a := &audited{}
	if err := json.Unmarshal(value, &a.Entry); err != nil {
		return err
	}
	if number(a.ID) != key {
		return fmt.Errorf("it is entry %d", a.ID)
	}
	l.audits = append(l.audits, a)
	return nil
}
