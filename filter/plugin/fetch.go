package plugin

import (
	"errors"
	"math/rand/v2"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/shared/protocol"
)

const (
	refreshMS      = 60_000 // how often a VM asks whether its assignment is still the newest
	fetchTimeoutMS = 5000
	firstRetryMS   = int64(500) // after that twice as long each time, up to
	lastRetryMS    = int64(5000)
)

// fetch is how a VM gets the assignment that nobody pushes to it. Each VM has its own: secrets stand in no shared data.
type fetch struct {
	etag    string // of the assignment in force
	sentMS  int64  // host's time of the request that is awaited; 0: none is
	nextMS  int64  // host's time at which it is asked again in any case
	afterMS int64  // host's time before which it is not asked at all
	vain    int    // requests in a row that brought nothing new
	said    string // the newest complaint
	unused  string // keys that were last warned of
}

// fetch asks for the assignment where one is missing, is known to be older than another, or was not asked about for long.
func (r *root) fetch() {
	v, f := r.vm, &r.vm.fetch
	if r.remote == nil || r.remote.controlPlane == "" || r.remote.token == "" {
		return
	}
	host := hostMS()
	if f.sentMS > 0 && host >= f.sentMS && host-f.sentMS < fetchTimeoutMS+lastRetryMS { // a replaced context takes its requests with it
		return
	}
	due := v.only == nil || r.behind() || host >= f.nextMS || f.nextMS-host > 2*refreshMS
	if !due || host < f.afterMS && f.afterMS-host <= lastRetryMS { // else the clock went back
		return
	}
	headers := [][2]string{
		{":method", "GET"}, {":path", protocol.AssignmentPath}, {":authority", "keywheel"}, {"authorization", bearer + r.remote.token},
	}
	if v.only != nil && f.etag != "" {
		headers = append(headers, [2]string{"if-none-match", f.etag})
	}
	f.sentMS = host
	if _, err := proxywasm.DispatchHttpCall(r.remote.controlPlane, headers, nil, nil, fetchTimeoutMS, r.fetched); err != nil {
		r.inVain("there is no cluster " + r.remote.controlPlane + " here; set control_plane to the Envoy cluster that leads to Keywheel")
	}
}

// behind says whether an answer to a report told of a newer assignment than the one in force.
func (r *root) behind() bool { return r.vm.only.version().Before(r.vm.book.Assigned()) }

// fetched takes the answer.
func (r *root) fetched(_, size, _ int) {
	defer r.vm.guard(atAssignment)
	f := &r.vm.fetch
	status, etag := "", ""
	if headers, err := proxywasm.GetHttpCallResponseHeaders(); err == nil {
		for _, h := range headers {
			switch h[0] {
			case ":status":
				status = h[1]
			case "etag":
				etag = h[1]
			}
		}
	}
	switch status {
	case "200":
		body, err := proxywasm.GetHttpCallResponseBody(0, size)
		if err == nil {
			err = r.fetchedBundle(body)
		}
		if err != nil {
			r.vm.book.Refuse(body)
			r.inVain("refused an assignment, the last good one stays in force: " + err.Error())
			return
		}
		f.etag = etag
	case "304":
	default:
		r.inVain(complaint(status, r.remote.controlPlane))
		return
	}
	f.sentMS, f.said = 0, ""
	f.nextMS = hostMS() + refreshMS - rand.Int64N(refreshMS/5) //nolint:gosec // jitter
	f.wait(r.behind())
}

var (
	errNoBundle = errors.New("it holds none")
	errNoSecret = errors.New("it names a credential without its secret")
)

// fetchedBundle puts an assignment in force that can be used. An older one than that in force changes nothing.
func (r *root) fetchedBundle(b []byte) error {
	a, err := parse(b)
	switch {
	case err != nil:
		return err
	case a == nil:
		return errNoBundle
	}
	for _, k := range a.Keys {
		if !k.Disabled && len(a.secrets[k.Credential]) == 0 {
			return errNoSecret
		}
	}
	first := r.vm.only == nil
	if !r.take(a) {
		return nil
	}
	if first {
		proxywasm.LogInfof("keywheel: fetched the assignment: %d keys", len(a.Keys))
	}
	r.warnOfUnused(a)
	return nil
}

// warnOfUnused names the keys that are never used because nobody looks into bodies.
func (r *root) warnOfUnused(a *assigned) {
	kept := ""
	for _, k := range a.Keys {
		if len(k.Models) > 0 && !k.Disabled && !r.remote.hold {
			kept += " " + k.ID
		}
	}
	if kept != r.vm.fetch.unused && kept != "" {
		proxywasm.LogWarnf("keywheel: not used, as they are kept for certain models and bodies are not looked into: keys%s;"+
			" take GROQ_KEY_n_MODELS away, or set \"hold\" where the host has allow_on_headers_stop_iteration", kept)
	}
	r.vm.fetch.unused = kept
}

// inVain takes down that nothing usable came, and says why if that is news.
func (r *root) inVain(why string) {
	f := &r.vm.fetch
	f.sentMS = 0
	f.wait(true)
	if why != f.said {
		f.said = why
		proxywasm.LogErrorf("keywheel: no assignment: %s", why)
	}
}

// wait spaces requests out.
func (f *fetch) wait(vain bool) {
	f.afterMS = hostMS() + min(lastRetryMS, firstRetryMS<<min(f.vain, 8))
	f.vain++
	if !vain {
		f.vain = 0
	}
}

// complaint says why the control plane gave no assignment, and what to change.
func complaint(status, cluster string) string {
	switch status {
	case "401", "429":
		return "the control plane does not accept the token (" + status + "); give the plugin's " + protocol.ProxyTokenVariable +
			" (or its \"token\") the value that the control plane has"
	case "403":
		return "the control plane gives no assignments away (403); set its " + protocol.ProxyTokenVariable
	case "404":
		return "what cluster " + cluster + " leads to knows no " + protocol.AssignmentPath +
			" (404); set control_plane to the cluster of Keywheel's KEYWHEEL_XDS_ADDR, or update the control plane"
	case "", "503", "504":
		return "the control plane cannot be reached through cluster " + cluster
	}
	return "the control plane answered " + status
}
