package dashboard_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"keywheel/xds/admin"
	"keywheel/xds/dashboard"
)

// state is what the stream sends.
type state = admin.State

// write is a request that wanted to change something.
type write struct {
	Method, Path, ContentType, Body string
}

// message is one of the stream's.
type message struct{ kind, data string }

// fake is an admin API that says what the test tells it to, with the page before it.
type fake struct {
	URL string

	mu            sync.Mutex
	state         state
	events        []admin.Event
	notifications []admin.Notification
	usage         map[string]admin.Usage // by what it is told apart, and step
	summaries     map[string]admin.Summary
	refusal       string // detail of the 422 that every change gets; empty: none
	sessions      map[string]string
	writes        []write
	listeners     map[chan message]bool
	down          bool
	streams       int // that were opened
}

const (
	adminToken = "admin+token/for=the&page%"
	readToken  = "read-token-for-the-page"
	cookieName = "keywheel_session"
)

func newFake(t *testing.T, s state) *fake {
	t.Helper()
	f := &fake{
		state: s, events: []admin.Event{}, notifications: []admin.Notification{}, usage: map[string]admin.Usage{}, summaries: map[string]admin.Summary{},
		sessions: map[string]string{}, listeners: map[chan message]bool{},
	}
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	f.URL = server.URL
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler) // as if nobody listened
	}
	if slices.Contains(dashboard.Paths(), r.URL.Path) {
		dashboard.Handler().ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodGet && (r.Header.Get("X-Keywheel-Page") != "1" || r.Header.Get("Origin") != f.URL || r.Header.Get("Sec-Fetch-Site") != "same-origin") {
		problem(w, http.StatusForbidden, "This request came from another site's page.")
		return
	}
	if r.URL.Path == "/api/v1/session" && r.Method == http.MethodPost {
		f.signIn(w, r)
		return
	}
	f.mu.Lock()
	access := ""
	if cookie, err := r.Cookie(cookieName); err == nil {
		access = f.sessions[cookie.Value]
	}
	f.mu.Unlock()
	switch {
	case access == "":
		problem(w, http.StatusUnauthorized, "Sign in first.")
	case r.URL.Path == "/api/v1/stream":
		f.stream(w, r)
	case r.Method == http.MethodGet:
		f.read(w, r, access)
	default:
		f.write(w, r, access)
	}
}

func (f *fake) signIn(w http.ResponseWriter, r *http.Request) {
	var body struct{ Token string }
	err := json.NewDecoder(r.Body).Decode(&body)
	access := map[string]string{adminToken: "admin", readToken: "read"}[body.Token]
	if err != nil || access == "" {
		problem(w, http.StatusUnauthorized, "This token is not known here.")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions["session-of-"+access] = access
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: "session-of-" + access, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.WriteHeader(http.StatusNoContent)
}

func (f *fake) read(w http.ResponseWriter, r *http.Request, access string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	query := r.URL.Query()
	switch path := r.URL.Path; {
	case path == "/api/v1/session":
		reply(w, http.StatusOK, admin.Session{Access: access})
	case path == "/api/v1/events":
		i := slices.IndexFunc(f.events, func(e admin.Event) bool { return e.ID == query.Get("after") })
		reply(w, http.StatusOK, f.events[i+1:])
	case path == "/api/v1/notifications":
		found := []admin.Notification{}
		for _, n := range f.notifications {
			if n.State == query.Get("state") {
				found = append(found, n)
			}
		}
		reply(w, http.StatusOK, found)
	case path == "/api/v1/usage":
		answer := f.usage[query.Get("by")+" "+query.Get("step")]
		if answer.Series == nil {
			answer.Series = []admin.UsageSeries{}
		}
		answer.From, answer.To, answer.By, answer.Step = query.Get("from"), query.Get("to"), query.Get("by"), query.Get("step")
		reply(w, http.StatusOK, answer)
	case strings.HasPrefix(path, "/api/v1/summaries/"):
		s, ok := f.summaries[strings.TrimPrefix(path, "/api/v1/summaries/")]
		if !ok {
			problem(w, http.StatusNotFound, "Nothing is known of this day.")
			return
		}
		reply(w, http.StatusOK, s)
	default:
		problem(w, http.StatusNotFound, "There is nothing at this path.")
	}
}

func (f *fake) write(w http.ResponseWriter, r *http.Request, access string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = append(f.writes, write{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(body)})
	switch {
	case r.URL.Path == "/api/v1/session":
		f.sessions = map[string]string{}
		w.WriteHeader(http.StatusNoContent)
	case access != "admin":
		problem(w, http.StatusForbidden, "The read-only token cannot change anything.")
	case f.refusal != "":
		problem(w, http.StatusUnprocessableEntity, f.refusal)
	case r.URL.Path == "/api/v1/notifications/test":
		refused := "the server did not answer"
		reply(w, http.StatusOK, []admin.Tried{{Receiver: "telegram", OK: true}, {Receiver: "email", Error: &refused}})
	default:
		reply(w, http.StatusAccepted, admin.Changed{ID: "4", Generation: 12})
	}
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	messages := make(chan message, 100)
	f.mu.Lock()
	f.listeners[messages] = true
	f.streams++
	messages <- f.stateMessage()
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.listeners, messages)
		f.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := w.(http.Flusher)
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return
			}
			_, _ = io.WriteString(w, ": ping\n\nevent: "+m.kind+"\ndata: "+m.data+"\n\n")
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) stateMessage() message {
	data, err := json.Marshal(f.state)
	if err != nil {
		panic(err)
	}
	return message{"state", string(data)}
}

// change changes the state and sends it.
func (f *fake) change(to func(s *state)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to(&f.state)
	for l := range f.listeners {
		l <- f.stateMessage()
	}
}

// tell adds an event and sends it.
func (f *fake) tell(e admin.Event) {
	data, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	for l := range f.listeners {
		l <- message{"event", string(data)}
	}
}

// cut ends every stream; nothing more is answered while down.
func (f *fake) cut(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	for l := range f.listeners {
		close(l)
		delete(f.listeners, l)
	}
}

// mend answers again.
func (f *fake) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = false
}

// forget ends every session.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = map[string]string{}
}

// refuse makes every change fail with this detail.
func (f *fake) refuse(detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusal = detail
}

// changes returns what wanted to change something.
func (f *fake) changes() []write {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.writes)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
