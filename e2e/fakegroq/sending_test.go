package fakegroq

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// A reset breaks the answer where the rule says, and its tokens are not counted as told.
func TestResets(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(10, 10)})
		for _, f := range []Fault{ResetBeforeBody, ResetAfterBody} {
			if r, err := post(t, c, s, one, chat, hello(true), Rule{Fault: f}.String()); err == nil {
				t.Errorf("%s: answered %d", f, r.StatusCode)
			}
		}
		for _, f := range []Fault{ResetMid, CloseMid, BadFraming} {
			r, err := post(t, c, s, one, chat, hello(true), Rule{Fault: f}.String())
			if err == nil && r.err == nil {
				t.Errorf("%s: a whole answer of %d bytes", f, len(r.body))
			}
		}
		if err := s.WaitIdle(deadline(t)); err != nil {
			t.Fatal(err)
		}
		a := s.Ledger()[one]
		if a.Tokens.Total() != 0 || a.Untold.Total() != 3*20 || a.Statuses[0] != 2 {
			t.Errorf("account %+v", a)
		}
	})
}

// An answer is broken off at the point that the rule names: what comes before is out, and the usage counts as told only
// where it is.
func TestBreaksOffAtAPoint(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(10, 10)})
		for _, f := range []Fault{ResetMid, CloseMid, BadFraming} {
			for _, p := range []Point{AfterHeaders, AfterFirst, BeforeUsage, AfterUsage} {
				for _, stream := range []bool{true, false} {
					if !stream && p == AfterUsage && f != BadFraming {
						continue // the whole answer is out
					}
					wg := sync.WaitGroup{}
					wg.Go(func() {
						r, err := post(t, c, s, one, chat, hello(stream), Rule{Fault: f, At: p, Hold: p}.String())
						if err != nil || r.StatusCode != http.StatusOK || r.err == nil {
							t.Errorf("%s at %s: %v, %+v", f, p, err, r)
							return
						}
						if (len(r.body) == 0) != (p == AfterHeaders) || bytes.Contains(r.body, []byte("total_tokens")) != (p == AfterUsage) {
							t.Errorf("%s at %s: got %q", f, p, r.body)
						}
					})
					held := waitHeld(t, s, p)
					s.Release(held.ID)
					wg.Wait()
					got, err := s.WaitRequest(deadline(t), held.ID)
					if err != nil || got.Complete || got.Told != (p == AfterUsage) {
						t.Errorf("%s at %s: %v, recorded %+v", f, p, err, got)
					}
				}
			}
		}
	})
}

// waitHeld returns the request that is held at this point, once there is one.
func waitHeld(t *testing.T, s *Server, p Point) (held Request) {
	t.Helper()
	err := s.WaitFor(deadline(t), func(truth Truth) bool {
		for _, held = range truth.Requests {
			if held.Held == p {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(p, err)
	}
	return held
}

// An answer held at a point is seen up to there, goes on when released, and ends when its client goes.
func TestHold(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(10, 10)})
		for _, p := range []Point{BeforeHeaders, AfterHeaders, AfterFirst, BeforeUsage, AfterUsage, AfterDone} {
			for _, stream := range []bool{false, true} {
				var wg sync.WaitGroup
				wg.Go(func() {
					if r, err := post(t, c, s, one, chat, hello(stream), Rule{Hold: p}.String()); err != nil || r.err != nil {
						t.Error(p, err, r.err)
					}
				})
				held := waitHeld(t, s, p)
				if told := p == AfterUsage || p == AfterDone; held.Told != told {
					t.Errorf("held at %s: told %v", p, held.Told)
				}
				s.Release(held.ID)
				wg.Wait()
				if err := s.WaitIdle(deadline(t)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A client that goes leaves an answer that is cut; what was not told stays untold.
func TestClientGoes(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(10, 10)})
		ctx, cancel := context.WithCancel(deadline(t))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+chat, strings.NewReader(hello(true)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+one)
		req.Header.Set(ScriptHeader, "hold=first")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		res.Body.Close()
		got, err := s.WaitRequest(deadline(t), res.Header.Get("x-request-id"))
		if err != nil {
			t.Fatal(err)
		}
		if got.Complete || got.Told || s.Ledger()[one].Untold.Total() != 20 {
			t.Errorf("recorded %+v, account %+v", got, s.Ledger()[one])
		}
	})
}

// An early answer comes before the body is read.
func TestEarlyAnswer(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{})
		body, writer := io.Pipe()
		defer writer.Close()
		req, err := http.NewRequestWithContext(deadline(t), http.MethodPost, s.URL()+chat, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+one)
		req.Header.Set(ScriptHeader, "early=true,fault=429-tpm")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != 429 {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

// A hanging request ends with its client, and with Close.
func TestHangEndsWithClose(t *testing.T) {
	s := start(t, Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if r, err := post(t, client(t, false, nil), s, one, chat, hello(false), "fault=hang"); err == nil && r.err == nil && r.StatusCode == 200 {
			t.Errorf("answered %d", r.StatusCode)
		}
	})
	if err := s.WaitFor(deadline(t), func(truth Truth) bool { return truth.InFlight == 1 && truth.Requests[0].Fault == Hang }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// Giant answers are valid JSON, with their usage after the giant part, and their hash is right.
func TestGiantAnswers(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{})
		const size = 3<<20 + 17
		for _, path := range []string{chat, "/openai/v1/responses"} {
			for _, stream := range []bool{false, true} {
				script := Rule{ContentBytes: size, Prompt: 3, Completion: 4}.String()
				r, err := post(t, c, s, one, path, hello(stream), script)
				if err != nil || r.err != nil || len(r.body) < size {
					t.Fatal(err, r.err, len(r.body))
				}
				if !stream && !json.Valid(r.body) {
					t.Errorf("%s: no JSON", path)
				}
				if !bytes.Contains(r.body[size:], []byte(`"total_tokens":7`)) {
					t.Errorf("%s: no usage after the giant part", path)
				}
				got, err := s.WaitRequest(deadline(t), r.Header.Get("x-request-id"))
				sum := sha256.Sum256(r.body)
				if err != nil || got.AnswerSHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("%s: hashes differ, %v", path, err)
				}
			}
		}
	})
}

// Pieces, silence and gzip change how an answer is sent, not what it says.
func TestWaysOfSending(t *testing.T) {
	s := start(t, Options{TokensFor: FixedTokens(1, 2)})
	c := client(t, false, nil)
	for _, script := range []string{"piece=7", "silence=1ms", "piece=50,drip=1ms", "usage=both", "cached=1,prompt=2,completion=1", "chunks=9"} {
		for _, stream := range []bool{true, false} {
			r, err := post(t, c, s, one, chat, hello(stream), script)
			if err != nil || r.err != nil || !bytes.Contains(r.body, []byte(`"total_tokens":3`)) {
				t.Errorf("%s: %v %v %s", script, err, r.err, r.body)
			}
		}
	}
	r, err := post(t, c, s, one, chat, hello(true), "usage=none,echo=x-echo")
	if err != nil || bytes.Contains(r.body, []byte("total_tokens")) || r.Header.Get("x-echo") != "Bearer "+one {
		t.Errorf("%v %v %s", err, r.Header, r.body)
	}
	r, err = post(t, c, s, one, chat, hello(true), "fault=stream-error")
	if err != nil || !bytes.Contains(r.body, []byte("\n\nevent: error\ndata: {")) || bytes.Contains(r.body, []byte("[DONE]")) {
		t.Errorf("%v %s", err, r.body)
	}
	// Go's transport asks for gzip by itself unless told not to, and unpacks silently.
	c.Transport.(*http.Transport).DisableCompression = false
	r, err = post(t, c, s, one, chat, hello(false), "")
	if err != nil || !r.Uncompressed || !json.Valid(r.body) {
		t.Errorf("gzip: %v, %v", r.Response, err)
	}
}

// A 103 goes before an answer and trailers after it where the rule says so; its type is what the rule calls it. The truth
// has the request's trailers.
func TestOddForms(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(10, 10)})
		for _, stream := range []bool{false, true} {
			for _, contentType := range []string{"text/x-odd", "none"} {
				hints := 0
				ctx := httptrace.WithClientTrace(deadline(t), &httptrace.ClientTrace{Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
					if status == http.StatusEarlyHints {
						hints++
					}
					return nil
				}})
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+chat, io.MultiReader(strings.NewReader(hello(stream))))
				if err != nil {
					t.Fatal(err)
				}
				req.Trailer = http.Header{"X-T": {"of the request"}}
				req.Header.Set("Authorization", "Bearer "+one)
				req.Header.Set(ScriptHeader, Rule{Hints: true, Trailer: "of the answer", ContentType: contentType}.String())
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				got := res.Header.Get("content-type")
				if err != nil || hints != 1 || res.Trailer.Get(TrailerHeader) != "of the answer" || got != strings.TrimPrefix(contentType, "none") {
					t.Errorf("%v; %d hints, trailer %v, type %q, %s", err, hints, res.Trailer, got, body)
				}
				recorded, err := s.WaitRequest(deadline(t), res.Header.Get("x-request-id"))
				if err != nil || !recorded.Complete || recorded.Trailer.Get("X-T") != "of the request" {
					t.Errorf("%v, recorded %+v", err, recorded)
				}
			}
		}
	})
}
