// Package meter knows what a call may need before it is sent and what it cost after it ended.
package meter

import "math/bits"

// Estimates, where nothing better is known.
const (
	// UnknownCompletion is what a model is taken to produce until its answers are known, in tokens.
	UnknownCompletion = 512
	// bytesPerToken is the rule of thumb for prompts; JSON around the text makes it err on the high side.
	bytesPerToken = 4
	// maxPrompt bounds the estimate: the largest context Groq serves. Larger bodies carry images.
	maxPrompt = 131_072
)

// Prompt estimates a prompt's tokens by its request body's bytes.
func Prompt(bytes int64) int64 {
	return min(max(bytes, 0)/bytesPerToken, maxPrompt)
}

// Need is what a call may take: its prompt and what it may produce. maxTokens 0 means that the caller set none.
func Need(prompt, maxTokens, learned int64) int64 {
	if learned <= 0 {
		learned = UnknownCompletion
	}
	if maxTokens > 0 {
		learned = min(learned, maxTokens)
	}
	return max(1, prompt+learned)
}

// Cut estimates what a 2xx answer cost that ended without stating it: the prompt, and a token for each event of a
// stream (Groq sends about one token in each; events 0: none) or for every few bytes of a JSON answer, but no more than
// the caller's maxTokens (0: not set).
func Cut(prompt int64, events int, bytes, maxTokens int64) int64 {
	completion := int64(events)
	if events == 0 {
		completion = max(bytes, 0) / bytesPerToken
	}
	if maxTokens > 0 {
		completion = min(completion, maxTokens)
	}
	return prompt + completion
}

// Learner learns what models really produce. One is kept by each VM; its zero value is ready.
type Learner struct {
	models map[string]*histogram
}

const (
	maxModels   = 64 // learned apart; the rest stay unknown
	enough      = 20 // answers before the histogram is believed
	perOctave   = 16 // buckets: a value is known to within 6.25 %
	octaves     = 22 // up to 4 million tokens
	half        = 4096
	rare        = 20 // one answer in so many is longer: the 95th percentile
	steady      = 64 // the percentile is worked out anew once one answer in so many is new
	bucketCount = perOctave * octaves
)

type histogram struct {
	total   uint32
	buckets [bucketCount]uint16

	percentile int64  // as it was when it was last worked out
	since      uint32 // answers since then
}

// Add takes down an answer's completion tokens.
func (l *Learner) Add(model string, completion int64) {
	if model == "" || completion < 0 {
		return
	}
	h := l.models[model]
	if h == nil {
		if len(l.models) >= maxModels {
			return
		}
		if l.models == nil {
			l.models = map[string]*histogram{}
		}
		h = &histogram{}
		l.models[model] = h
	}
	h.buckets[bucketOf(completion)]++
	h.since++
	if h.total++; h.total >= half { // forget slowly, so that a change of use is learned
		h.total = 0
		for i := range h.buckets {
			h.buckets[i] /= 2
			h.total += uint32(h.buckets[i])
		}
	}
}

// Completion is the 95th percentile of what the model produced, in tokens; 0 until enough is known.
func (l *Learner) Completion(model string) int64 {
	h := l.models[model]
	if h == nil || h.total < enough {
		return 0
	}
	if h.percentile == 0 || h.since*steady >= h.total {
		h.percentile, h.since = h.workOut(), 0
	}
	return h.percentile
}

// workOut finds the percentile, which takes a look at every bucket.
func (h *histogram) workOut() int64 {
	left := h.total - h.total/rare
	for i, n := range h.buckets {
		if uint32(n) >= left {
			return upper(i)
		}
		left -= uint32(n)
	}
	return upper(bucketCount - 1)
}

// bucketOf divides each octave evenly.
func bucketOf(v int64) int {
	v = max(1, v)
	octave := bits.Len64(uint64(v)) - 1
	return min(bucketCount-1, octave*perOctave+int(v*perOctave>>octave)-perOctave)
}

// upper is the largest value of a bucket.
func upper(bucket int) int64 {
	octave, part := bucket/perOctave, int64(bucket%perOctave)
	return ((perOctave+part+1)<<octave+perOctave-1)/perOctave - 1
}
