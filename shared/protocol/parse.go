package protocol

import (
	"errors"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Errors of a message that cannot be used. The filter then keeps what it has.
var (
	ErrMalformed = errors.New("message is not the JSON that was agreed")
	ErrVersion   = errors.New("message is of another version; update the filter and the control plane together")
)

// MaxAssignment bounds an assignment and an answer, in bytes: some 1,000 keys with room to spare.
const MaxAssignment = 4 << 20

// Credential makes the ID of a key's revision.
func Credential(key string, revision uint32) CredentialID {
	return key + "." + strconv.FormatUint(uint64(revision), 10)
}

// SplitCredential is the reverse of Credential.
func SplitCredential(c CredentialID) (key string, revision uint32, ok bool) {
	i := strings.LastIndexByte(c, '.')
	if i <= 0 {
		return "", 0, false
	}
	r, err := strconv.ParseUint(c[i+1:], 10, 32)
	if err != nil || Credential(c[:i], uint32(r)) != c {
		return "", 0, false
	}
	return c[:i], uint32(r), true
}

func open(b []byte) (gjson.Result, error) {
	if len(b) > MaxAssignment || !gjson.ValidBytes(b) {
		return gjson.Result{}, ErrMalformed
	}
	j := gjson.ParseBytes(b)
	if !j.IsObject() {
		return gjson.Result{}, ErrMalformed
	}
	if j.Get("v").Int() != Version {
		return gjson.Result{}, ErrVersion
	}
	return j, nil
}

// ParseAssignment reads an assignment. It returns ErrMalformed or ErrVersion for one that cannot be used.
func ParseAssignment(b []byte) (*Assignment, error) {
	j, err := open(b)
	if err != nil {
		return nil, err
	}
	a := &Assignment{Version: Version, Epoch: j.Get("epoch").Int(), Generation: j.Get("generation").Int(), Clock: clock(j.Get("clock"))}
	p := j.Get("policy")
	a.Policy = Policy{
		Strategy:         p.Get("strategy").String(),
		RequiredTokens:   p.Get("required_tokens").Int(),
		ReportIntervalMS: p.Get("report_interval_ms").Int(),
		LoopGuard:        p.Get("loop_guard").Bool(),
		Demo:             p.Get("demo").Bool(),
		CallerHeader:     p.Get("caller_header").String(),
		UseKey:           p.Get("use_key").Bool(),
	}
	if a.Epoch <= 0 || a.Generation <= 0 || a.Policy.RequiredTokens < 0 || a.Policy.ReportIntervalMS <= 0 {
		return nil, ErrMalformed
	}
	seen := map[string]bool{}
	for _, k := range j.Get("keys").Array() {
		key, err := parseKey(k)
		if err != nil || seen[key.ID] {
			return nil, ErrMalformed
		}
		seen[key.ID] = true
		a.Keys = append(a.Keys, key)
	}
	return a, nil
}

func parseKey(j gjson.Result) (Key, error) {
	k := Key{
		ID: j.Get("id").String(), Credential: j.Get("credential").String(), Priority: int(j.Get("priority").Int()),
		Org: j.Get("org").String(), Tier: j.Get("tier").String(), Disabled: j.Get("disabled").Bool(),
		LimitTokens: j.Get("limit_tokens").Int(), LimitRequests: j.Get("limit_requests").Int(),
	}
	if id, _, ok := SplitCredential(k.Credential); !ok || id != k.ID || len(k.Credential) > 64 || len(k.Org) > 128 {
		return k, ErrMalformed
	}
	if k.LimitTokens < 0 || k.LimitRequests < 0 {
		return k, ErrMalformed
	}
	for _, f := range j.Get("fresh").Array() {
		k.Fresh = append(k.Fresh, Fresh{Window: f.Get("window").String(), Tokens: f.Get("tokens").Int(), Requests: f.Get("requests").Int()})
	}
	models := j.Get("models")
	if models.Type != gjson.Null && !models.IsArray() { // a list that was not understood must not be taken for none
		return k, ErrMalformed
	}
	for _, m := range models.Array() {
		if m.Type != gjson.String {
			return k, ErrMalformed
		}
		k.Models = append(k.Models, m.Str)
	}
	return k, nil
}

func clock(j gjson.Result) Clock {
	return Clock{AnchorHostMS: j.Get("anchor_host_ms").Int(), AnchorNowMS: j.Get("anchor_now_ms").Int(), Speed: j.Get("speed").Float()}
}

// ParseAnswer reads the answer to a report. It returns ErrMalformed or ErrVersion for one that cannot be used.
func ParseAnswer(b []byte) (*Answer, error) {
	j, err := open(b)
	if err != nil {
		return nil, err
	}
	a := &Answer{
		Version: Version, Epoch: j.Get("epoch").Int(), Generation: j.Get("generation").Int(), Assignment: j.Get("assignment").Int(),
		Incarnation: j.Get("incarnation").String(), NowMS: j.Get("now_ms").Int(), Clock: clock(j.Get("clock")),
	}
	if a.Epoch <= 0 || a.Generation <= 0 || a.NowMS <= 0 {
		return nil, ErrMalformed
	}
	for _, x := range j.Get("allowances").Array() {
		a.Allowances = append(a.Allowances, Allowance{
			Credential: x.Get("credential").String(), Window: x.Get("window").String(),
			Tokens: x.Get("tokens").Int(), Requests: x.Get("requests").Int(), More: x.Get("more").Bool(),
		})
	}
	for _, x := range j.Get("findings").Array() {
		a.Findings = append(a.Findings, Finding{
			Credential: x.Get("credential").String(), Org: x.Get("org").String(), Model: x.Get("model").String(),
			Kind: FindingKind(x.Get("kind").String()), Code: x.Get("code").String(),
			RemainingMS: x.Get("remaining_ms").Int(), AgeMS: x.Get("age_ms").Int(),
		})
	}
	for _, x := range j.Get("keys").Array() {
		a.Keys = append(a.Keys, KeyState{ID: x.Get("id").String(), Health: x.Get("health").Float(), MedianMS: x.Get("median_ms").Int()})
	}
	return a, nil
}

// Now is the clock's time at the host's time, both in Unix milliseconds.
func (c Clock) Now(hostMS int64) int64 {
	if c.AnchorNowMS == 0 {
		return hostMS
	}
	return c.AnchorNowMS + int64(float64(hostMS-c.AnchorHostMS)*c.Speed)
}
