package bench

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"keywheel/e2e/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(spinning) != "" {
		spin()
	}
	harness.Main(m)
}

const (
	single      = 1000 // calls a round over one connection
	concurrent  = 6000 // calls a round over many
	connections = 16
	warming     = 2000 // calls before the first round: compilers, caches, what the filter learns
)

// rounds is how often each way has its turn.
func rounds(b *testing.B) int {
	b.Helper()
	text := os.Getenv("KEYWHEEL_BENCH_ROUNDS")
	if text == "" {
		return 9
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("KEYWHEEL_BENCH_ROUNDS is %q; set it to a number from 1", text)
	}
	return n
}

// BenchmarkBesideRawEnvoy measures calls of three shapes directly, through an Envoy that only proxies, through one with a
// Lua script that does the same job, and through Keywheel, in turn, on one worker each; then what the number of keys,
// a start and further workers cost. It prints a report and, with KEYWHEEL_BENCH_RESULTS, writes it there.
func BenchmarkBesideRawEnvoy(b *testing.B) {
	for b.Loop() {
		var r results
		r.rounds = rounds(b)
		addr := upstream(b)
		b.Run("ways", func(b *testing.B) { r.measureWays(b, addr) })
		b.Run("keys", func(b *testing.B) { r.measureKeys(b, addr) })
		b.Run("starts", func(b *testing.B) { r.measureStarts(b, addr) })
		if b.Failed() {
			return
		}
		text := r.text()
		fmt.Println("\n" + text) // a benchmark that has others below it shows no log
		if path := os.Getenv("KEYWHEEL_BENCH_RESULTS"); path != "" {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// round gives a way its turn with one shape of call.
func (w *way) round(b *testing.B, i int) {
	b.Helper()
	f, s, part := &w.of[i], &shapes[i], max(1, w.part)
	sleep := awake(b)
	one, _ := load(b, w.addr, s, 1, single/part)
	sleep()
	before := cpu(b, w.pid())
	many, took := load(b, w.addr, s, connections, concurrent/part)
	n := float64(len(many))
	f.rate = append(f.rate, n/took.Seconds())
	f.cpu = append(f.cpu, (cpu(b, w.pid())-before)/(n+connections)) // each connection makes one call that is not timed
	f.oneMedians = append(f.oneMedians, median(one))
	f.one, f.many = append(f.one, one...), append(f.many, many...)
}

// warm has a way do all of what it is then measured by.
func (w *way) warm(b *testing.B) {
	b.Helper()
	w.of = make([]figures, len(shapes))
	for i := range shapes {
		load(b, w.addr, &shapes[i], connections, warming/max(1, w.part))
	}
}

func (r *results) measureWays(b *testing.B, addr string) {
	r.ways, _ = ways(b, addr)
	for _, w := range r.ways {
		w.warm(b)
	}
	for round := range r.rounds {
		for i := range shapes {
			for j := range r.ways {
				r.ways[(j+round)%len(r.ways)].round(b, i)
			}
		}
	}
}

// counts are the numbers of keys that are compared.
var counts = []int{1, 10, 100, 1000}

// jsonShape is the shape by which keys are compared.
const jsonShape = 1

func (r *results) measureKeys(b *testing.B, addr string) {
	for _, strategy := range []string{"priority", "balanced"} {
		for _, n := range counts {
			s := stack(b, addr, n, strategy)
			w := &way{name: strconv.Itoa(n) + " keys, " + strategy, addr: s.Keywheel.Listen, envoy: s.Envoy, part: 1}
			if strategy == "balanced" && n >= 100 {
				w.part = n / 50 // every call looks at every key
			}
			w.warm(b)
			r.keys = append(r.keys, w)
		}
	}
	for range r.rounds {
		for _, w := range r.keys {
			w.round(b, jsonShape)
		}
	}
}

// start is what one way of starting an Envoy takes.
type start struct {
	name      string
	seconds   []float64   // until the first 200, with one worker
	megabytes [][]float64 // resident after calls on all workers, by number of workers
}

// memoryWorkers are the numbers of workers by which memory is compared.
var memoryWorkers = []int{1, 3}

func (r *results) measureStarts(b *testing.B, addr string) {
	all, _ := ways(b, addr)
	for _, place := range []int{raw, lua, keywheel} {
		r.starts = append(r.starts, &start{name: all[place].name, megabytes: make([][]float64, len(memoryWorkers))})
	}
	for range min(r.rounds, 5) {
		for i, place := range []int{raw, lua, keywheel} {
			w := all[place]
			for j, workers := range memoryWorkers {
				w.envoy.Terminate(b)
				w.envoy.Concurrency = workers
				begin := time.Now()
				w.envoy.Start(b)
				w.serves(b, 1)
				if workers == 1 {
					r.starts[i].seconds = append(r.starts[i].seconds, time.Since(begin).Seconds())
				}
				w.serves(b, connections*workers)
				for range workers {
					w.warm(b)
				}
				r.starts[i].megabytes[j] = append(r.starts[i].megabytes[j], rss(b, w.pid()))
			}
		}
	}
}

// serves returns once so many calls in a row, each over a connection of its own, are answered 200: each may be another
// worker's.
func (w *way) serves(b *testing.B, calls int) {
	b.Helper()
	request := shapes[jsonShape].request(w.addr)
	for deadline, served := time.Now().Add(harness.Deadline), 0; served < calls; {
		c := dial(b, w.addr)
		err := c.call(request)
		_ = c.conn.Close()
		if served++; err != nil {
			served = 0
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not serve: %v", w.name, err)
		}
	}
}
