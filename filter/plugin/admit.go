package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/meter"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
)

// admit lets the call through with a trail for its attempts or with its key, or refuses it because no key is left.
func (g *gate) admit(a *assigned) types.Action {
	t := &g.trail
	*t = trail.Trail{Call: g.vm.calls.add(g.vm.id, g), Incarnation: g.vm.process(), Model: trail.UnknownModel, Only: g.useKey, Tries: g.first[:0]}
	r := picker.Request{Only: g.useKey}
	if g.endpoint.tokens != noTokens {
		r.Need, r.Fixed = a.Policy.RequiredTokens, a.Policy.RequiredTokens > 0
	}
	if g.endpoint.tokens >= promptTokens {
		t.Prompt = meter.Prompt(g.length)
	}
	if model := g.asked(); model != "" {
		t.Model = model
	} else if g.sole != nil {
		g.sole.believe(t)
	}
	if !r.Fixed {
		r.Need = g.need(t)
	}
	r.Model, t.Need = t.Model, r.Need
	if g.sole == nil && g.vm.tabFor(a, &r) != nil {
		return g.passed(g.leave())
	}
	at := g.vm.instant()
	c := g.choose(a, t, r, at)
	if c.Refusal != nil {
		if c.Refusal.More {
			g.vm.urgentMS = hostMS()
		}
		g.root.hasten()
		return g.refuse(refusedBy(c.Refusal, at))
	}
	g.vm.watch(c.Room, r.Need)
	g.root.hasten()
	return g.passed(g.pass(c, at))
}

func (g *gate) passed(ok bool) types.Action {
	if !ok {
		return g.refuse(internalError())
	}
	g.admitted = true
	return types.ActionContinue
}

// choose looks whether a key could serve; a gate alone takes it.
func (g *gate) choose(a *assigned, t *trail.Trail, r picker.Request, at picker.Instant) picker.Choice {
	if g.sole != nil {
		return g.sole.take(g.vm, a, t, at)
	}
	return a.picker.Peek(g.vm.book, r, at)
}

// pass lets the call go on: with a trail for its attempts, or with its key.
func (g *gate) pass(c picker.Choice, at picker.Instant) bool {
	if g.sole != nil {
		return g.sole.pass(c, at)
	}
	return g.leave()
}

// leave writes the trail for the attempts.
func (g *gate) leave() bool {
	g.left = g.vm.leave(&g.trail)
	return g.left > 0
}

// need estimates the tokens of the call.
func (g *gate) need(t *trail.Trail) int64 {
	switch g.endpoint.tokens {
	case completionTokens:
		return meter.Need(t.Prompt, g.maxTokens(), g.vm.learner.Completion(t.Model))
	case promptTokens:
		return max(1, t.Prompt)
	case uncountedTokens:
		return 1
	}
	return 0
}

// prompt is the prompt's estimate, now that the whole body has been seen.
func (g *gate) prompt(t *trail.Trail) int64 {
	if g.endpoint.tokens < promptTokens {
		return t.Prompt
	}
	return max(t.Prompt, meter.Prompt(g.length))
}

// asked is the model that the body asks for; empty: it was not seen.
func (g *gate) asked() string {
	if g.peek == nil {
		return ""
	}
	g.vm.model = g.peek.Model()
	return g.vm.model
}

// maxTokens is the most that the caller wants produced; 0: not said, or not seen.
func (g *gate) maxTokens() int64 {
	if g.peek == nil {
		return 0
	}
	return g.peek.MaxTokens()
}
