package groq

import (
	"strings"
	"testing"
)

type peeked struct {
	model  string
	max    int64
	stream bool
	done   bool
}

func peekPieces(pieces ...string) peeked {
	var p RequestPeek
	n := int64(0)
	for _, s := range pieces {
		p.Feed([]byte(s))
		n += int64(len(s))
	}
	if p.Bytes() != n {
		return peeked{model: "miscounted"}
	}
	return peeked{p.Model(), p.MaxTokens(), p.Stream(), p.Done()}
}

var requests = map[string]struct {
	body string
	want peeked
}{
	"enough":                {`{"model":"m","max_tokens":5,"max_completion_tokens":90,"stream":true,"model":"x"}`, peeked{"m", 5, false, true}},
	"model last":            {`{"messages":[{"role":"user","content":"model \"max_tokens\":9"}],"stream":true,"max_tokens":100,"model":"m"}`, peeked{"m", 100, true, true}},
	"model first":           {`{"model":"openai/gpt-oss-20b","max_completion_tokens":50,"messages":[]}`, peeked{"openai/gpt-oss-20b", 50, false, true}},
	"of /responses":         {`{"model":"m","max_output_tokens":60,"input":"x"}`, peeked{"m", 60, false, true}},
	"largest maximum":       {`{"max_tokens":100,"max_completion_tokens":50,"model":"m"}`, peeked{"m", 100, false, true}},
	"no maximum":            {`{"model":"m","messages":[]}`, peeked{"m", 0, false, true}},
	"no maximum yet":        {`{"model":"m","messages":[`, peeked{"m", 0, false, false}},
	"no model":              {`{"max_tokens":5,"stream":true}`, peeked{"", 5, true, true}},
	"no model yet":          {`{"max_tokens":5,"messages":[{"model":"x","max_tokens":7}`, peeked{"", 5, false, false}},
	"decoys":                {`{"messages":[{"model":"x","max_tokens":7}],"metadata":{"model":"y","stream":true},"Model":"z","model":"m"}`, peeked{"m", 0, false, true}},
	"twice":                 {`{"model":"a","model":"b"}`, peeked{"b", 0, false, true}},
	"null":                  {`{"model":"m","max_tokens":null,"stream":null}`, peeked{"m", 0, false, true}},
	"strange maximum":       {`{"model":"m","max_tokens":"9","max_completion_tokens":1e9,"max_output_tokens":-1}`, peeked{"m", 0, false, true}},
	"strange stream":        {`{"model":"m","stream":"true"}`, peeked{"m", 0, false, true}},
	"streamed by one":       {`{"model":"m","stream":1}`, peeked{"m", 0, false, true}},
	"not streamed":          {`{"model":"m","stream":true,"stream":false}`, peeked{"m", 0, false, true}},
	"empty model":           {`{"model":""}`, peeked{done: true}},
	"blank in the model":    {`{"model":"a b"}`, peeked{done: true}},
	"line end in the model": {`{"model":"a\r\nx-injected: 1"}`, peeked{done: true}},
	"other letters":         {`{"model":"modèle"}`, peeked{done: true}},
	"escaped letters":       {`{"\u006dodel":"\u006d\ud83d"}`, peeked{done: true}},
	"longest model":         {`{"model":"` + strings.Repeat("m", 128) + `"}`, peeked{model: strings.Repeat("m", 128), done: true}},
	"model too long":        {`{"model":"` + strings.Repeat("m", 129) + `"}`, peeked{done: true}},
	"model far too long":    {`{"model":"` + strings.Repeat("m", 5000) + `","max_tokens":3}`, peeked{max: 3, done: true}},
	"model no string":       {`{"model":{"model":"m"},"max_tokens":[5]}`, peeked{done: true}},
	"not JSON":              {`model=m&max_tokens=5`, peeked{done: true}},
	"array":                 {`[{"model":"m"}]`, peeked{done: true}},
	"empty":                 {``, peeked{}},
	"broken":                {`{"model":"m",}`, peeked{model: "m", done: true}},
	"second document":       {`{}{"model":"m"}`, peeked{done: true}},
}

func TestRequestPeek(t *testing.T) {
	for name, c := range requests {
		t.Run(name, func(t *testing.T) {
			if got := peekPieces(c.body); got != c.want {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
			for i := range c.body {
				if got := peekPieces(c.body[:i], c.body[i:]); got != c.want {
					t.Fatalf("cut at %d: got %+v, want %+v", i, got, c.want)
				}
			}
			if got := peekPieces(strings.Split(c.body, "")...); got != c.want {
				t.Fatalf("by the character: got %+v, want %+v", got, c.want)
			}
		})
	}
}
