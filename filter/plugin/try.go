package plugin

import (
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
)

// try is one try of a call with one key: how the key is chosen and put on, and what the answer teaches.
type try struct {
	vm     *vm
	a      *assigned
	key    *protocol.Key        // picked; nil: none
	bearer string               // its Authorization
	status int                  // of an answer that is not 2xx
	header groq.ResponseHeaders // of that answer
	blind  bool                 // nobody looked into the request's body
}

// fromTab takes the call's key from a tab; false: there is none for it.
func (t *try) fromTab(tr *trail.Trail) bool {
	if len(tr.Tries) > 0 || tr.Only != "" {
		return false
	}
	o := t.vm.tabFor(t.a.version(), tr.Model, t.blind)
	if o == nil || !o.Holds(tr.Need) {
		return false
	}
	o.Take(tr.Need)
	t.vm.taken.picks++
	t.key, t.bearer = o.key, o.bearer
	t.vm.stats.pick(o.key.Credential)
	t.add(tr, tr.Need)
	return true
}

// pick takes the best key for the call and holds what it may need. A choice without a key says why there is none.
func (t *try) pick(tr *trail.Trail, at picker.Instant) picker.Choice {
	r := t.request(tr)
	r.InUse = t.vm.inUse
	c := t.a.picker.Pick(t.vm.book, t.vm.id, r, at)
	t.vm.seen(t.a, &r, &c, at)
	if c.Key == nil {
		return c
	}
	t.vm.watch(c.Room, r.Need)
	t.key, t.bearer = c.Key, t.a.bearers[c.Key.Credential]
	t.add(tr, c.Reserve)
	return c
}

// add has the call know of the try.
func (t *try) add(tr *trail.Trail, reserved int64) {
	tr.Tries = append(tr.Tries, trail.Try{Credential: t.key.Credential, VM: t.vm.id, Reserved: reserved})
}

func (t *try) request(tr *trail.Trail) picker.Request {
	r := picker.Request{Model: tr.Model, Need: tr.Need, Only: tr.Only, Blind: t.blind}
	r.Fixed = t.a.Policy.RequiredTokens > 0 && tr.Need == t.a.Policy.RequiredTokens
	for _, y := range tr.Tries {
		r.Tried = append(r.Tried, picker.Tried{Credential: y.Credential, Final: y.State == trail.Failed})
	}
	return r
}

// dress puts the key on the request. The header map is shared by all attempts of a call: every one replaces it.
func (t *try) dress() bool {
	if t.bearer == "" {
		proxywasm.LogErrorf("keywheel: the assignment names credential %s without its secret", t.key.Credential)
		return false
	}
	if proxywasm.ReplaceHttpRequestHeader("authorization", t.bearer) != nil {
		return false
	}
	if t.a.Policy.LoopGuard {
		_ = proxywasm.ReplaceHttpRequestHeader(hopHeader, "1")
	}
	return true
}

// use takes down that the call goes to the key.
func (t *try) use(c picker.Choice, tr *trail.Trail, at picker.Instant) {
	t.vm.stats.pick(c.Key.Credential)
	if tr.Only == "" && t.a.picker.Takes(c) && t.vm.book.Use(at.Window, at.NowMS, c.Key.Credential, c.Leave) {
		t.vm.stats.rotation()
	}
}

// drop closes a try that was never sent.
func (t *try) drop(tr *trail.Trail, at picker.Instant) {
	t.vm.settle(at, tr.Last(), &account.Settlement{Class: groq.ClassConnect})
}

// learned takes what an answer that is not 2xx says of the key, and settles the try.
func (t *try) learned(tr *trail.Trail, body []byte, at picker.Instant) groq.Verdict {
	v := groq.Classify(t.status, t.header, body)
	t.vm.warnOfEcho(t.key.ID, body)
	last := tr.Last()
	t.vm.settle(at, last, &account.Settlement{Class: v.Class})
	t.learn(v, tr.Model, at)
	last.State = trail.Passed
	if keyCannotHelp(v.Class) {
		last.State = trail.Failed
	}
	return v
}

// elsewhere says whether another key could help and can serve. A 429 is told when it is worth coming back.
func (t *try) elsewhere(v groq.Verdict, tr *trail.Trail, at picker.Instant) bool {
	if !v.RetryElsewhere {
		return false
	}
	c := t.a.picker.Peek(t.vm.book, t.request(tr), at)
	if v.Class == groq.ClassLimited {
		wait := int64(1)
		if c.Refusal != nil {
			wait = c.Refusal.RetryAfter(at.NowMS)
		}
		for _, h := range retryHeaders(wait) {
			set(h[0], h[1])
		}
	}
	return c.Key != nil && !c.Again
}

// keyCannotHelp says which classes are the key's own: trying it again for the same call is useless.
func keyCannotHelp(c groq.Class) bool {
	switch c {
	case groq.ClassLimited, groq.ClassInvalid, groq.ClassRestricted, groq.ClassPermission:
		return true
	}
	return false
}

// learnedMS is how long a refusal of the key itself is believed without being told again. The control plane asks Groq
// in the meantime and clears the key; without it a call tries again, and is rescued.
const learnedMS = int64(time.Hour / time.Millisecond)

// edgeEveryMS is how often a worker notes that the edge refused us: a caller can be the cause.
const edgeEveryMS = 60_000

// learn remembers what an answer says about the key, so that the next choice avoids it.
func (t *try) learn(v groq.Verdict, model string, at picker.Instant) {
	f := account.Finding{Credential: t.key.Credential, Org: t.key.Org, Model: model, Code: v.Code, AtMS: at.NowMS, UntilMS: at.NowMS + learnedMS}
	switch v.Class {
	case groq.ClassLimited:
		f.Kind = protocol.Cooling
		f.UntilMS = at.NowMS + v.Wait.Milliseconds()
	case groq.ClassInvalid:
		f.Kind, f.Model = protocol.Invalid, ""
	case groq.ClassRestricted:
		f.Kind, f.Model = protocol.Restricted, ""
	case groq.ClassPermission:
		f.Kind = protocol.Blocked
	case groq.ClassEdge:
		now := hostMS()
		if now >= t.vm.edgeMS && now-t.vm.edgeMS < edgeEveryMS {
			return
		}
		t.vm.edgeMS = now
		t.vm.book.Note(account.Note{Kind: protocol.NoteEdge, Window: at.Window, AtMS: at.NowMS, To: t.key.Credential})
		return
	default:
		return
	}
	t.vm.book.Learn(at.NowMS, f)
	t.vm.closeTabs()
	t.vm.earlyMS = hostMS() // other Envoys want to know
}
