package collector_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/collector"
	"keywheel/xds/ledger"
)

// endless is a body without a stated length that says how much of it was read. It makes no garbage of its own.
type endless struct {
	head, item, read int
	next             []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if e.head == 0 {
		e.head = 1
		n := copy(p, `{"v":1,"incarnation":"`+incarnation+`","windows":[{"window":"2025-11-18","credentials":[`)
		e.read += n
		return n, nil
	}
	if e.item >= 1_000_000 {
		return 0, io.EOF
	}
	e.item++
	e.next = strconv.AppendInt(append(e.next[:0], `{"credential":"`...), int64(e.item), 10)
	e.next = append(e.next, `.1","requests":1},`...)
	n := copy(p, e.next) // cut short where there is no room
	e.read += n
	return n, nil
}

// A report of a million keys is refused when it is known to be too large, not when all of it was read and understood.
func TestReportOfAMillionKeys(t *testing.T) {
	d := newDesk(t)
	before := d.memory.Records()
	body := &endless{}
	r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, body)
	r.Header.Set("Authorization", "Bearer "+d.ledger.ReportToken())
	r.ContentLength = -1
	w := httptest.NewRecorder()
	spent := allocated(func() { d.ServeHTTP(w, r) })
	if w.Code != http.StatusRequestEntityTooLarge || body.read > 2*collector.MaxBody {
		t.Errorf("%d after %d bytes", w.Code, body.read)
	}
	if spent > 2*collector.MaxBody {
		t.Errorf("took %d bytes of memory", spent)
	}
	if diff := cmp.Diff(before, d.memory.Records()); diff != "" {
		t.Errorf("the store changed:\n%s", diff)
	}
	if s := d.Stats(); s != (collector.Stats{TooLarge: 1}) {
		t.Errorf("stats %+v", s)
	}
}

// allocated is how much memory something takes, in bytes, what it gives back included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A report as large as can be is taken, of stated and of unknown length, and costs little more than twice its size. One more
// byte is too many.
func TestLargestBody(t *testing.T) {
	for _, stated := range []bool{true, false} {
		for _, size := range []int{1, 2, 3, 63, 64, 65, 128, 1024} { // KiB
			d := newDesk(t)
			body := good + strings.Repeat(" ", size<<10-len(good))
			post := func(body string) (code int, spent uint64) {
				r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+d.ledger.ReportToken())
				if !stated {
					r.ContentLength = -1
				}
				w := httptest.NewRecorder()
				spent = allocated(func() { d.ServeHTTP(w, r) })
				return w.Code, spent
			}
			code, spent := post(body)
			if code != 200 || d.ledger.View().Keys[0].Used == 0 {
				t.Errorf("%d KiB, stated %v: %d", size, stated, code)
			}
			if spent > uint64(2*len(body))+256<<10 { // the rest is the ledger's
				t.Errorf("%d KiB, stated %v: took %d bytes of memory", size, stated, spent)
			}
			if code, _ := post(body + " "); (code == 413) != (size == 1024) {
				t.Errorf("%d KiB and a byte, stated %v: %d", size, stated, code)
			}
		}
	}
}

// Whoever states a length and sends less costs what was sent, and not what was stated.
func TestLengthThatIsOnlyClaimed(t *testing.T) {
	d := newDesk(t)
	r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, io.MultiReader(strings.NewReader(`{"v":1`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	r.Header.Set("Authorization", "Bearer "+d.ledger.ReportToken())
	r.ContentLength = collector.MaxBody
	w := httptest.NewRecorder()
	if spent := allocated(func() { d.ServeHTTP(w, r) }); w.Code != 400 || spent > collector.MaxBody/4 {
		t.Errorf("%d, took %d bytes of memory", w.Code, spent)
	}
}

// The largest report that a filter makes is taken.
func TestLargestReport(t *testing.T) {
	d := newDesk(t)
	var b strings.Builder
	b.WriteString(`{"v":1,"node":"n","incarnation":"` + incarnation + `","seq":1,"windows":[{"window":"2025-11-18","credentials":[`)
	for i := range 2600 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"credential":"%d.1","requests":1,"attempts":{"ok":1},"time_ms":[%s0],"models":[{"model":"m","prompt":1,"completion":1,"cached":0,"total":2,"estimated":0}]}`,
			i+1, strings.Repeat("0,", len(protocol.TimeBuckets)))
	}
	b.WriteString(`]}]}`)
	if b.Len() < 400<<10 || b.Len() > collector.MaxBody {
		t.Fatalf("%d bytes: the test tests nothing", b.Len())
	}
	if code, body := d.post("Bearer "+d.ledger.ReportToken(), b.String()); code != 200 {
		t.Errorf("%d %.200s", code, body)
	}
	if used := d.ledger.View().Keys[0].Used; used != 2 {
		t.Errorf("used %d", used)
	}
}

// busy is an account that is at work until it is told to go on.
type busy struct {
	*ledger.Ledger
	at, goOn chan struct{}
}

func (b *busy) Apply(ctx context.Context, peer ledger.Peer, r *protocol.Report) (*protocol.Answer, error) {
	b.at <- struct{}{}
	<-b.goOn
	return b.Ledger.Apply(ctx, peer, r)
}

// Whoever has no token is refused before the body is read, and while the account is at work; a report that is being
// taken in is none the worse for it.
func TestFloodWithoutAToken(t *testing.T) {
	d := newDesk(t)
	b := &busy{d.ledger, make(chan struct{}), make(chan struct{})}
	h := collector.New(b, func(*http.Request) ledger.Peer { return ledger.Peer{ConnID: 1} }, slog.New(slog.DiscardHandler))
	good1 := httptest.NewRequest(http.MethodPost, protocol.ReportPath, strings.NewReader(good))
	good1.Header.Set("Authorization", "Bearer "+d.ledger.ReportToken())
	taken := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(taken, good1)
	}()
	<-b.at
	body := &endless{}
	for i := range 10_000 {
		r := httptest.NewRequest(http.MethodPost, protocol.ReportPath, body)
		r.Header.Set("Authorization", fmt.Sprint("Bearer wrong", i))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Fatalf("%d", w.Code)
		}
	}
	if body.read != 0 {
		t.Errorf("%d bytes were read of who has no token", body.read)
	}
	close(b.goOn)
	<-done
	if taken.Code != 200 || h.Stats() != (collector.Stats{Accepted: 1, Unauthorized: 10_000}) {
		t.Errorf("%d, %+v", taken.Code, h.Stats())
	}
}

// What a person voided is refused as gone.
func TestVoidedIsGone(t *testing.T) {
	d := newDesk(t)
	token := "Bearer " + d.ledger.ReportToken()
	if code, _ := d.post(token, good); code != 200 {
		t.Fatal(code)
	}
	if err := d.ledger.Void(t.Context(), incarnation, audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	if code, body := d.post(token, good); code != http.StatusGone || !strings.Contains(body, "start it again") {
		t.Errorf("%d %s", code, body)
	}
	if used := d.ledger.View().Keys[0].Used; used != 0 || d.Stats().Gone != 1 {
		t.Errorf("used %d", used)
	}
}
