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
	t.Call, t.Incarnation = g.vm.calls.add(g.vm.id, g), g.vm.process()
	t.Model, t.Only, t.Tries = trail.UnknownModel, g.useKey, g.first[:0]
	if g.endpoint.tokens >= promptTokens {
		t.Prompt = meter.Prompt(g.length)
	}
	if model := g.asked(); model != "" {
		t.Model = model
	} else if g.sole != nil {
		g.sole.believe(t)
	}
	fixed := g.endpoint.tokens != noTokens && a.Policy.RequiredTokens > 0
	if t.Need = a.Policy.RequiredTokens; !fixed {
		t.Need = g.need(t)
	}
	if g.sole == nil && t.Only == "" {
		if tab := g.vm.tabFor(a.version(), t.Model, false); tab != nil && tab.Holds(t.Need) {
			return g.passed(g.leave())
		}
	}
	return g.look(a, fixed)
}

// look lets the call through if a key could serve it now.
func (g *gate) look(a *assigned, fixed bool) types.Action {
	t := &g.trail
	at := g.vm.instant()
	c := g.choose(a, picker.Request{Model: t.Model, Need: t.Need, Fixed: fixed, Only: t.Only}, at)
	if c.Refusal != nil {
		if c.Refusal.More {
			g.vm.urgentMS = hostMS()
		}
		g.root.hasten()
		return g.refuse(refusedBy(c.Refusal, at))
	}
	g.vm.watch(c.Room, t.Need)
	g.root.hasten()
	return g.passed(g.pass(c, at))
}

func (g *gate) passed(ok bool) types.Action {
	if !ok {
		return g.deny(internalError)
	}
	g.admitted = true
	return types.ActionContinue
}

// choose looks whether a key could serve; a gate alone takes it.
func (g *gate) choose(a *assigned, r picker.Request, at picker.Instant) picker.Choice {
	if g.sole != nil {
		return g.sole.take(g.vm, a, &g.trail, at)
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
