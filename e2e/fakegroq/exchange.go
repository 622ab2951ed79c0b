package fakegroq

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// errGone ends an answer whose client is gone, or whose server closes.
var errGone = errors.New("the client is gone")

// exchange is one request and its answer. It belongs to the goroutine that serves it; what others may see of it is
// the copy that publish makes.
type exchange struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController
	acct *account
	rule Rule
	body []byte

	req     Request  // this goroutine's
	shown   *Request // everybody's, guarded by s.mu
	hash    hash.Hash
	decided *Tokens // what a completion would stand for; nil: not asked yet
	counts  *Tokens // what the answer that was begun stands for; nil: it is none that costs tokens
}

// handle serves one request.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	x := s.begin(w, r)
	defer x.end()
	if x.serve() != nil || x.rc.Flush() != nil {
		panic(http.ErrAbortHandler) // returning would end a broken answer as if it were whole
	}
	x.req.Complete = true
}

// begin records the arrival.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{s: s, w: w, r: r, rc: http.NewResponseController(w)}
	x.req = Request{
		Tag: r.Header.Get(TagHeader), Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Proto: r.Proto, Header: r.Header,
	}
	if r.TLS != nil {
		x.req.SNI = r.TLS.ServerName
	}
	x.req.Secret, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.log.limit >= 0 {
		x.hash = sha256.New()
	}
	s.change(func() {
		s.seq++
		s.inFlight++
		x.req.Seq, x.req.ID = s.seq, s.requestID(s.seq)
		x.acct = s.accounts[x.req.Secret]
		if x.acct == nil {
			x.acct = s.accounts[UnknownKey]
		}
		if x.acct == nil {
			x.acct = &account{statuses: map[int]int64{}}
			s.accounts[UnknownKey] = x.acct
		}
		x.acct.requests++
		if x.acct.known {
			x.req.Key = x.acct.key.Name
		}
		shown := x.req
		x.shown = &shown
		s.log.add(x.shown)
	})
	return x
}

// requestID is unique per server run, in the shape of Groq's.
func (s *Server) requestID(seq int64) string {
	n := strconv.FormatInt(seq, 10)
	port := s.ln.Addr().(*net.TCPAddr).Port
	return "req_01k" + strconv.Itoa(port) + strings.Repeat("0", max(0, 23-5-len(n))) + n
}

// publish shows the others what has become of the request.
func (x *exchange) publish() {
	x.s.change(func() { *x.shown = x.req })
}

// end records how it went. It runs also when the answer was broken off by a panic.
func (x *exchange) end() {
	x.req.Ended, x.req.Held = true, ""
	if x.hash != nil {
		x.req.AnswerSHA256 = hex.EncodeToString(x.hash.Sum(nil))
	}
	x.s.change(func() {
		x.s.inFlight--
		if x.req.Status == 0 {
			x.acct.statuses[0]++
		}
		if x.counts != nil && !x.req.Told {
			x.acct.untold.add(*x.counts)
		}
		*x.shown = x.req
	})
}

// serve answers the request. An error means that the answer was broken off.
func (x *exchange) serve() error {
	if !x.served() {
		return x.answerFault(Edge)
	}
	fromHeader, err := ParseRule(x.r.Header.Get(ScriptHeader))
	if err != nil {
		return x.whole(http.StatusNotImplemented, errorBody(err.Error(), "fake_script_error", "", ""))
	}
	if x.pickRule(fromHeader, true) {
		if x.rule.Fault == ResetBeforeBody {
			x.fail(ResetBeforeBody)
			x.reset()
		}
		if err := x.rc.EnableFullDuplex(); err != nil && x.r.ProtoMajor == 1 {
			return err
		}
	} else {
		if err := x.readBody(); err != nil {
			return err
		}
		x.pickRule(fromHeader, false)
	}
	if x.rule.Echo != "" {
		x.w.Header().Set(x.rule.Echo, x.r.Header.Get("Authorization"))
	}
	if x.rule.Fault != "" {
		return x.failWith(x.rule.Fault)
	}
	if !x.known() {
		return x.answerFault(InvalidKey)
	}
	return x.route()
}

// served says whether the request came under a name that this server answers to.
func (x *exchange) served() bool {
	hosts := x.s.opts.Hosts
	if len(hosts) == 0 {
		return true
	}
	host := x.r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return slices.Contains(hosts, host) && (x.r.TLS == nil || slices.Contains(hosts, x.req.SNI))
}

func (x *exchange) known() bool {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return x.acct.known
}

// pickRule finds the rule for this request; the one in its header goes first.
func (x *exchange) pickRule(fromHeader Rule, early bool) bool {
	if fromHeader != (Rule{}) && fromHeader.fits(x.req, early) {
		if fromHeader.early() != early {
			return false
		}
		x.rule = fromHeader
	} else {
		x.rule = x.s.takeRule(x.req, early)
	}
	return x.rule != (Rule{})
}

// readBody reads the request and finds out what it asks for.
func (x *exchange) readBody() error {
	size := max(x.r.ContentLength, 0)
	buf := make([]byte, 0, min(size, MaxBodyBytes)+512)
	for {
		n, err := x.r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		x.req.BodyBytes += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(buf) > MaxBodyBytes {
			return x.answerFault(EntityTooLarge)
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
	}
	x.body, x.req.Trailer = buf, x.r.Trailer
	if x.hash != nil {
		sum := sha256.Sum256(buf)
		x.req.BodySHA256 = hex.EncodeToString(sum[:])
	}
	x.peek()
	x.publish()
	return nil
}

// peek reads what rules, limits and the truth want to know of the body.
func (x *exchange) peek() {
	mediaType, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err == nil && mediaType == "multipart/form-data" {
		x.req.Model = formValue(x.body, params["boundary"], "model")
		return
	}
	if len(x.body) == 0 || x.body[0] != '{' {
		return
	}
	fields := gjson.GetManyBytes(x.body, "model", "stream", "max_completion_tokens", "max_output_tokens", "max_tokens")
	x.req.Model, x.req.Stream = fields[0].String(), fields[1].Bool()
	for _, limit := range fields[2:] {
		if x.req.MaxTokens = limit.Int(); x.req.MaxTokens > 0 {
			break
		}
	}
}

// formValue reads one short field of a multipart form.
func formValue(body []byte, boundary, name string) string {
	form := multipart.NewReader(strings.NewReader(string(body)), boundary)
	for {
		part, err := form.NextPart()
		if err != nil {
			return ""
		}
		if part.FormName() == name {
			value, err := io.ReadAll(io.LimitReader(part, 256))
			if err != nil {
				return ""
			}
			return string(value)
		}
	}
}

func (x *exchange) model() string {
	if x.req.Model == "" {
		return "unknown"
	}
	return x.req.Model
}

// tokens decides, once, what a completion of this request stands for.
func (x *exchange) tokens() Tokens {
	if x.decided == nil {
		t := Tokens{x.rule.Prompt, x.rule.Completion, x.rule.Cached}
		if t.Total() == 0 {
			t.Prompt, t.Completion = x.count()
		}
		x.decided = &t
	}
	return *x.decided
}

// count asks TokensFor.
func (x *exchange) count() (prompt, completion int64) {
	x.s.mu.Lock()
	count := x.s.tokens
	x.s.mu.Unlock()
	if count == nil {
		return int64(len(x.body)/4) + 1, 20
	}
	return count(x.req)
}

// fail notes how the request is made to fail.
func (x *exchange) fail(f Fault) {
	x.req.Fault = f
	x.publish()
}

// failWith makes the request fail.
func (x *exchange) failWith(f Fault) error {
	if _, isAnswer := faults[f]; isAnswer {
		x.fail(f)
		return x.answerFault(f)
	}
	x.fail(f)
	switch f {
	case ResetAfterBody:
		x.reset()
	case Hang:
		return x.gone()
	case StreamError:
		if !x.req.Stream {
			return x.answerFault(Internal)
		}
	}
	return x.route() // it breaks on the way
}

// gone waits for the client to go, or for Close.
func (x *exchange) gone() error {
	select {
	case <-x.r.Context().Done():
	case <-x.s.done:
	}
	return errGone
}

// reset breaks the connection, of HTTP/2 only the stream unless the rule says otherwise. It does not return.
func (x *exchange) reset() {
	if x.r.ProtoMajor == 1 || x.rule.WholeConn {
		conn, _ := x.r.Context().Value(connKey{}).(net.Conn)
		if secure, isTLS := conn.(*tls.Conn); isTLS {
			conn = secure.NetConn()
		}
		if tcp, isTCP := conn.(*net.TCPConn); isTCP {
			_ = tcp.SetLinger(0) // without it the peer would see an orderly end; either way it ends
			_ = tcp.Close()
		}
	}
	panic(http.ErrAbortHandler) // net/http's own way to give an answer up
}

// breakOff ends an answer in its middle. It does not return nil, if at all.
func (x *exchange) breakOff() error {
	_ = x.rc.Flush() // what cannot be flushed any more is broken already
	if x.r.ProtoMajor > 1 || x.rule.Fault == ResetMid {
		x.reset()
	}
	conn, _, err := x.rc.Hijack()
	if err != nil {
		return err
	}
	if x.rule.Fault == BadFraming {
		_, err = conn.Write([]byte("not a size\r\n"))
	}
	return errors.Join(errGone, err, conn.Close())
}

// sleep waits for d. It is only used where a rule asks for time to pass.
func (x *exchange) sleep(d Duration) error {
	if d <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), time.Duration(d))
	defer cancel()
	select {
	case <-ctx.Done():
		if x.r.Context().Err() != nil {
			return errGone
		}
		return nil
	case <-x.s.done:
		return errGone
	}
}
