package groq

// Usage is what an answer says that it cost, in tokens.
type Usage struct {
	Prompt     int64 // Cached included
	Completion int64 // reasoning included
	Cached     int64 // the part of Prompt that came from Groq's cache
	Total      int64 // what counts against limits; at least Prompt + Completion
	Model      string
	Known      bool // false: the answer stated no usage, or none to be trusted, and the counts are 0
}

// maxCount is the largest count that is believed: beyond it, numbers lose digits on the way through JSON readers.
const maxCount = 1 << 53

// count is one number of a usage.
type count struct {
	n     int64
	state countState
}

type countState uint8

const (
	absent  countState = iota // not there, or null
	stated                    // a whole number from 0 to maxCount
	strange                   // anything else: text, a fraction, an exponent, negative, too large
)

// countOf reads a count. Only plain digits are one: nothing is rounded, converted or guessed.
func countOf(v value) count {
	switch {
	case v.kind == literal && string(v.text) == "null":
		return count{}
	case v.kind != literal || v.cut || len(v.text) == 0 || len(v.text) > 16:
		return count{state: strange}
	}
	var n int64
	for _, c := range v.text {
		if c < '0' || c > '9' {
			return count{state: strange}
		}
		n = n*10 + int64(c-'0')
	}
	if n > maxCount {
		return count{state: strange}
	}
	return count{n, stated}
}

// statedUsage is a usage object as it stands in an answer.
type statedUsage struct {
	prompt, completion, total, cached count
}

// usage judges a stated usage. It returns false for an object that states no count of tokens, which is no usage.
//
// The rules, with prompt, completion and total for the three counts that matter:
//   - One of them strange, or the total below the sum of the others: the usage is not trusted.
//   - No total: prompt + completion. One of the two alone is not trusted.
//   - No completion, or no prompt: what the other leaves of the total (embeddings state no completion).
//   - Only a total: it is trusted, and its parts stay 0.
//   - A total above the sum is trusted: it is what Groq counts.
//   - The cached count only lowers a price. A strange one is 0, and it is never more than the prompt.
func (s statedUsage) usage() (Usage, bool) {
	p, c, t := s.prompt, s.completion, s.total
	switch {
	case p.state == absent && c.state == absent && t.state == absent:
		return Usage{}, false
	case p.state == strange || c.state == strange || t.state == strange:
		return Usage{}, true
	case t.state == absent && (p.state == absent || c.state == absent):
		return Usage{}, true
	case t.state == absent:
		t.n = p.n + c.n
	case t.n < p.n+c.n:
		return Usage{}, true
	case p.state == absent && c.state == stated:
		p.n = t.n - c.n
	case c.state == absent && p.state == stated:
		c.n = t.n - p.n
	}
	if t.n > maxCount {
		return Usage{}, true
	}
	u := Usage{Prompt: p.n, Completion: c.n, Total: t.n, Known: true}
	if s.cached.state == stated {
		u.Cached = min(s.cached.n, p.n)
	}
	return u, true
}

// plus adds up what two answers cost. The sum is known where both are and it can be trusted.
func (u Usage) plus(o Usage) Usage {
	if !u.Known || !o.Known || u.Total+o.Total > maxCount {
		return Usage{}
	}
	u.Prompt += o.Prompt
	u.Completion += o.Completion
	u.Cached += o.Cached
	u.Total += o.Total
	return u
}

// answerFields are the fields of an answer, and of an event's data, that are read. usage_breakdown is not: the
// parts of a compound answer are inside its usage.
var answerFields = field{fields: []field{
	{name: "model", is: answerModel},
	{name: "usage", is: usageObject, fields: usageFields},
	{name: "x_groq", fields: []field{{name: "usage", is: usageObject, fields: usageFields}}},
	{name: "error", is: errorObject, fields: errorFields},
	{name: "code", is: errorCode}, // of an error event of /responses
	{name: "response", fields: []field{ // the object inside the events of /responses
		{name: "model", is: answerModel},
		{name: "usage", is: usageObject, fields: usageFields},
		{name: "error", is: errorObject, fields: errorFields},
	}},
}}

// batchFields are the fields of a line of a batch's output.
var batchFields = field{fields: []field{
	{name: "response", fields: []field{
		{name: "body", fields: []field{
			{name: "model", is: answerModel},
			{name: "usage", is: usageObject, fields: usageFields},
		}},
	}},
}}

// usageFields are the counts of a usage: of completions and embeddings, and of /responses.
var usageFields = []field{
	{name: "prompt_tokens", is: promptTokens},
	{name: "completion_tokens", is: completionTokens},
	{name: "total_tokens", is: totalTokens},
	{name: "prompt_tokens_details", is: promptDetails, fields: detailFields},
	{name: "input_tokens", is: promptTokens},
	{name: "output_tokens", is: completionTokens},
	{name: "input_tokens_details", is: promptDetails, fields: detailFields},
}

var detailFields = []field{{name: "cached_tokens", is: cachedTokens}}

var errorFields = []field{
	{name: "code", is: errorCode},
	{name: "status_code", is: errorStatus},
}

const (
	answerModel meaning = iota + 1
	usageObject
	promptTokens
	completionTokens
	totalTokens
	promptDetails
	cachedTokens
	errorObject
	errorCode
	errorStatus
)
