package fakegroq

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of the plan that the x-ratelimit headers show. They are so wide that nothing follows from them.
const (
	planRequestsPerDay  = 50_000_000
	planTokensPerMinute = 50_000_000
)

// commonHeaders are on every answer.
func (x *exchange) commonHeaders() {
	h := x.w.Header()
	h.Set("x-request-id", x.req.ID)
	h.Set("x-groq-region", "fra")
	h.Set("server", "cloudflare")
	h.Set("via", "1.1 google")
	h.Set("vary", "Origin")
	h.Set("cf-ray", strconv.FormatInt(x.req.Seq, 16)+"fa4e0000-FRA")
	h.Set("alt-svc", `h3=":443"; ma=86400`)
	h.Set("set-cookie", "__cf_bm=fake."+x.req.ID+"; path=/; HttpOnly; Secure; SameSite=None")
	if h.Get("cache-control") == "" {
		h.Set("cache-control", "private, max-age=0, no-store, no-cache, must-revalidate")
	}
}

// limitHeaders are on answers that reached the model: requests are the day's, tokens the minute's.
func (x *exchange) limitHeaders() {
	x.s.mu.Lock()
	requests := x.acct.requests
	x.s.mu.Unlock()
	tokens := x.tokens().Total()
	perRequest := 24 * time.Hour / planRequestsPerDay
	perToken := time.Minute / planTokensPerMinute
	h := x.w.Header()
	h.Set("x-ratelimit-limit-requests", strconv.Itoa(planRequestsPerDay))
	h.Set("x-ratelimit-limit-tokens", strconv.Itoa(planTokensPerMinute))
	h.Set("x-ratelimit-remaining-requests", strconv.FormatInt(max(planRequestsPerDay-requests, 1000), 10))
	h.Set("x-ratelimit-remaining-tokens", strconv.FormatInt(max(planTokensPerMinute-tokens, 1000), 10))
	h.Set("x-ratelimit-reset-requests", (time.Duration(requests) * perRequest).String())
	h.Set("x-ratelimit-reset-tokens", (time.Duration(tokens) * perToken).String())
}

// start sends the head of the answer.
func (x *exchange) start(status int) error {
	if err := x.reach(BeforeHeaders); err != nil {
		return err
	}
	if x.rule.Hints {
		x.w.WriteHeader(http.StatusEarlyHints)
	}
	x.commonHeaders()
	h := x.w.Header()
	switch x.rule.ContentType {
	case "":
	case "none":
		h["Content-Type"] = nil // Go makes none up either
	default:
		h.Set("content-type", x.rule.ContentType)
	}
	if x.rule.Trailer != "" {
		h.Set(http.TrailerPrefix+TrailerHeader, x.rule.Trailer)
	}
	x.req.Status = status
	x.s.change(func() {
		x.acct.statuses[status]++
		*x.shown = x.req
	})
	x.w.WriteHeader(status)
	return x.reach(AfterHeaders)
}

// whole sends an answer without usage in one piece.
func (x *exchange) whole(status int, body []byte) error {
	return x.parts(status, body, 0, nil, nil)
}

// parts sends a body made of a head, filler bytes of harmless JSON text, and a tail; told is what the tail states,
// nil: nothing. The filler is never held in memory.
func (x *exchange) parts(status int, head []byte, filler int64, tail []byte, told *Tokens) error {
	h := x.w.Header()
	if filler == 0 && told != nil && strings.Contains(x.r.Header.Get("Accept-Encoding"), "gzip") {
		var err error
		if head, err = compress(head, tail); err != nil {
			return err
		}
		tail = nil
		h.Set("content-encoding", "gzip")
	}
	if x.rule.Fault != BadFraming && x.rule.Trailer == "" && status != http.StatusNoContent { // which have none, or only chunks
		h.Set("content-length", strconv.FormatInt(int64(len(head))+filler+int64(len(tail)), 10))
	}
	if err := x.start(status); err != nil {
		return err
	}
	if told == nil {
		return x.write(head)
	}
	if len(tail) > 0 {
		if err := x.write(head); err != nil {
			return err
		}
		if err := x.fill(filler); err != nil {
			return err
		}
		head = tail
	}
	if err := x.reachAll(AfterFirst, BeforeUsage); err != nil {
		return err
	}
	if err := x.tell(told, head); err != nil {
		return err
	}
	return x.reachAll(AfterUsage, AfterDone)
}

// tell sends the bytes that state the usage. It is charged before, so that whoever has read it finds it charged;
// and taken back should it not go out.
func (x *exchange) tell(told *Tokens, b []byte) error {
	if told != nil && x.rule.Usage != UsageNone {
		x.req.Told, x.req.Tokens = true, *told
		x.s.change(func() {
			x.acct.tokens.add(*told)
			x.acct.answers++
			*x.shown = x.req
		})
	}
	err := x.write(b)
	if err == nil {
		err = x.rc.Flush()
	}
	if err != nil && x.req.Told {
		x.req.Told = false
		x.s.change(func() {
			x.acct.tokens.add(Tokens{-told.Prompt, -told.Completion, -told.Cached})
			x.acct.answers--
			*x.shown = x.req
		})
	}
	return err
}

// write sends bytes of the body, in pieces if the rule says so.
func (x *exchange) write(b []byte) error {
	if x.rule.Piece <= 0 {
		return x.put(b)
	}
	for len(b) > 0 {
		n := min(x.rule.Piece, len(b))
		if err := x.put(b[:n]); err != nil {
			return err
		}
		if err := x.rc.Flush(); err != nil {
			return err
		}
		if err := x.sleep(x.rule.Drip); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (x *exchange) put(b []byte) error {
	if len(b) == 0 { // which a 204 may not even write
		return nil
	}
	n, err := x.w.Write(b)
	x.req.AnswerBytes += int64(n)
	if x.hash != nil {
		x.hash.Write(b[:n])
	}
	return err
}

// fillerBlock is text that may stand inside a JSON string. It holds what looks like a usage and is none.
var fillerBlock = sync.OnceValue(func() []byte {
	const words = `the answer goes on \"usage\":{\"prompt_tokens\":7000001,\"total_tokens\":7000002} and on, data: [DONE]\n\n`
	return []byte(strings.Repeat(words, 64<<10/len(words)))
})

// fill sends n bytes of text.
func (x *exchange) fill(n int64) error {
	block := fillerBlock()
	for ; n >= int64(len(block)); n -= int64(len(block)) {
		if err := x.write(block); err != nil {
			return err
		}
	}
	return x.write(bytes.Repeat([]byte("x"), int(n))) // a block cut short could end inside an escape
}

func (x *exchange) reachAll(points ...Point) error {
	for _, p := range points {
		if err := x.reach(p); err != nil {
			return err
		}
	}
	return nil
}

// reach is called at each point of the answer: where it is silent, held and broken off, in this order.
func (x *exchange) reach(p Point) error {
	if p == BeforeUsage && x.rule.Silence > 0 {
		if err := x.rc.Flush(); err != nil {
			return err
		}
		if err := x.sleep(x.rule.Silence); err != nil {
			return err
		}
	}
	if x.rule.Hold == p {
		if err := x.hold(p); err != nil {
			return err
		}
	}
	at := x.rule.At
	if at == "" {
		at = BeforeUsage
	}
	if x.rule.Fault.breaksOff() && p == at {
		return x.breakOff()
	}
	return nil
}

// hold waits until the answer is released.
func (x *exchange) hold(p Point) error {
	if p != BeforeHeaders {
		if err := x.rc.Flush(); err != nil {
			return err
		}
	}
	release := make(chan struct{})
	x.req.Held = p
	x.s.change(func() {
		x.s.held[x.req.ID] = release
		*x.shown = x.req
	})
	defer func() {
		x.req.Held = ""
		x.s.change(func() {
			delete(x.s.held, x.req.ID)
			*x.shown = x.req
		})
	}()
	select {
	case <-release:
		return nil
	case <-x.r.Context().Done():
	case <-x.s.done:
	}
	return errGone
}

func compress(parts ...[]byte) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	for _, p := range parts {
		if _, err := zip.Write(p); err != nil {
			return nil, err
		}
	}
	err := zip.Close()
	return out.Bytes(), err
}

// route answers by path.
func (x *exchange) route() error {
	path, isAPI := strings.CutPrefix(x.r.URL.Path, "/openai/v1/")
	switch {
	case isAPI && path == "models" && x.r.Method == http.MethodGet:
		return x.models()
	case !isAPI || x.r.Method != http.MethodPost:
	case path == "chat/completions" || path == "responses" || path == "embeddings":
		return x.generate(path)
	case path == "audio/transcriptions" || path == "audio/translations":
		return x.audio()
	}
	message := "Unknown request URL: " + x.r.Method + " " + x.r.URL.Path + ". Please check the URL for typos, " +
		"or see the docs at https://console.groq.com/docs/"
	x.w.Header().Set("content-type", "application/json")
	return x.whole(http.StatusNotFound, errorBody(message, "invalid_request_error", "unknown_url", ""))
}
