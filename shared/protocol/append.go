package protocol

import "strconv"

// AppendReport appends r as JSON, as encoding/json would read it back, and returns the extended slice.
func AppendReport(dst []byte, r *Report) []byte {
	e := encoder{b: dst}
	e.open('{')
	e.int("v", int64(r.Version))
	e.str("node", r.Node)
	e.str("incarnation", r.Incarnation)
	e.int("seq", r.Seq)
	e.int("now_ms", r.NowMS)
	e.int("host_ms", r.HostMS)
	e.int("epoch", r.Epoch)
	e.int("generation", r.Generation)
	e.int("config", r.Config)
	e.int("bad_configs", r.BadConfigs)
	if r.Panics != 0 {
		e.int("panics", r.Panics)
	}
	e.optional("mode", r.Mode)
	list(&e, "windows", r.Windows, (*encoder).window)
	list(&e, "findings", r.Findings, (*encoder).finding)
	list(&e, "notes", r.Notes, (*encoder).note)
	list(&e, "reserved", r.Reserved, (*encoder).use)
	e.close('}')
	return e.b
}

// encoder appends JSON. It exists because encoding/json costs each Envoy worker megabytes.
type encoder struct {
	b     []byte
	comma bool
}

func (e *encoder) open(c byte) {
	e.sep()
	e.b = append(e.b, c)
	e.comma = false
}

func (e *encoder) close(c byte) {
	e.b = append(e.b, c)
	e.comma = true
}

func (e *encoder) sep() {
	if e.comma {
		e.b = append(e.b, ',')
	}
	e.comma = true
}

func (e *encoder) name(n string) {
	e.sep()
	e.b = append(append(append(e.b, '"'), n...), '"', ':')
	e.comma = false
}

func (e *encoder) int(n string, v int64) {
	e.name(n)
	e.b = strconv.AppendInt(e.b, v, 10)
	e.comma = true
}

func (e *encoder) str(n, v string) {
	e.name(n)
	e.b = AppendString(e.b, v)
	e.comma = true
}

func (e *encoder) optional(n, v string) {
	if v != "" {
		e.str(n, v)
	}
}

func list[T any](e *encoder, name string, items []T, one func(*encoder, *T)) {
	e.name(name)
	e.open('[')
	for i := range items {
		e.open('{')
		one(e, &items[i])
		e.close('}')
	}
	e.close(']')
}

func (e *encoder) window(w *WindowUsage) {
	e.str("window", w.Window)
	e.name("gate")
	e.open('{')
	for i, n := range gateFields {
		e.int(n, *w.Gate.Field(i))
	}
	e.close('}')
	list(e, "credentials", w.Credentials, (*encoder).credential)
	if len(w.Callers) > 0 {
		list(e, "callers", w.Callers, (*encoder).caller)
	}
}

func (e *encoder) caller(c *CallerUsage) {
	e.str("caller", c.Caller)
	e.int("requests", c.Requests)
	e.int("prompt", c.Prompt)
	e.int("completion", c.Completion)
	e.int("total", c.Total)
}

func (e *encoder) credential(c *CredentialUsage) {
	e.str("credential", c.Credential)
	e.int("requests", c.Requests)
	e.name("attempts")
	e.open('{')
	for class, n := range c.Attempts {
		e.int(class, n)
	}
	e.close('}')
	e.name("time_ms")
	e.open('[')
	for _, n := range c.TimeMS {
		e.sep()
		e.b = strconv.AppendInt(e.b, n, 10)
	}
	e.close(']')
	list(e, "models", c.Models, (*encoder).model)
}

func (e *encoder) model(m *ModelUsage) {
	e.str("model", m.Model)
	e.int("prompt", m.Prompt)
	e.int("completion", m.Completion)
	e.int("cached", m.Cached)
	e.int("total", m.Total)
	e.int("estimated", m.Estimated)
}

func (e *encoder) finding(f *Finding) {
	e.str("credential", f.Credential)
	e.str("org", f.Org)
	e.optional("model", f.Model)
	e.str("kind", string(f.Kind))
	e.optional("code", f.Code)
	e.int("remaining_ms", f.RemainingMS)
	e.int("age_ms", f.AgeMS)
}

func (e *encoder) note(n *Note) {
	e.int("seq", n.Seq)
	e.str("kind", string(n.Kind))
	e.str("window", n.Window)
	e.int("age_ms", n.AgeMS)
	e.optional("from", n.From)
	e.optional("to", n.To)
	e.optional("reason", n.Reason)
	e.int("ordinal", n.Ordinal)
	e.int("tokens", n.Tokens)
}

func (e *encoder) use(u *CredentialUse) {
	e.str("credential", u.Credential)
	e.int("tokens", u.Tokens)
	e.int("requests", u.Requests)
}

// gateFields are the JSON names of GateUsage's fields, in the order of Field.
var gateFields = [...]string{
	"requests", "succeeded", "caller_faults", "refused", "failed", "cut", "limited", "rescues", "time_ms",
	"first_refusal_ms", "last_refusal_ms", "last_served_ms",
}

// Field returns the i-th field, in the order in which they are declared. It panics where there is none.
func (g *GateUsage) Field(i int) *int64 {
	return [...]*int64{
		&g.Requests, &g.Succeeded, &g.CallerFaults, &g.Refused, &g.Failed, &g.Cut, &g.Limited, &g.Rescues, &g.TimeMS,
		&g.FirstRefusalMS, &g.LastRefusalMS, &g.LastServedMS,
	}[i]
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20 || r == 0x7f || r == '<' || r == '>' || r == '&' || r == 0x2028 || r == 0x2029:
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}
