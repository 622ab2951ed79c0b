package groq

import (
	"strings"
	"testing"
)

// usagePolicy is the policy for usage objects of every kind.
var usagePolicy = map[string]struct {
	json string
	want Usage
}{
	"plain":                      {`{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`, known("", 3, 4, 0)},
	"blanks":                     {" \n{ \"usage\" :\t{ \"prompt_tokens\" : 3 ,\r\n\"completion_tokens\":4,\"total_tokens\":7 } } \n", known("", 3, 4, 0)},
	"byte-order mark":            {byteOrderMark + `{"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"zero":                       {`{"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}`, known("", 0, 0, 0)},
	"largest":                    {`{"usage":{"total_tokens":9007199254740992}}`, Usage{Total: 1 << 53, Known: true}},
	"no total":                   {`{"usage":{"prompt_tokens":3,"completion_tokens":4}}`, known("", 3, 4, 0)},
	"null total":                 {`{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":null}}`, known("", 3, 4, 0)},
	"no completion":              {`{"usage":{"prompt_tokens":3,"total_tokens":7}}`, known("", 3, 4, 0)},
	"no prompt":                  {`{"usage":{"completion_tokens":4,"total_tokens":7}}`, known("", 3, 4, 0)},
	"only a total":               {`{"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"only a prompt":              {`{"usage":{"prompt_tokens":7}}`, Usage{}},
	"only a completion":          {`{"usage":{"completion_tokens":7}}`, Usage{}},
	"total above the sum":        {`{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":9}}`, Usage{Prompt: 3, Completion: 4, Total: 9, Known: true}},
	"total below the sum":        {`{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":6}}`, Usage{}},
	"total below a part":         {`{"usage":{"prompt_tokens":8,"total_tokens":6}}`, Usage{}},
	"cached":                     {`{"usage":{"prompt_tokens":8,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":5}}}`, known("", 8, 0, 5)},
	"cached first":               {`{"usage":{"prompt_tokens_details":{"cached_tokens":5},"prompt_tokens":8,"total_tokens":8}}`, known("", 8, 0, 5)},
	"cached above prompt":        {`{"usage":{"prompt_tokens":8,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":50}}}`, known("", 8, 0, 8)},
	"cached strange":             {`{"usage":{"prompt_tokens":8,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":"x"}}}`, known("", 8, 0, 0)},
	"cached null":                {`{"usage":{"prompt_tokens":8,"total_tokens":8,"prompt_tokens_details":null}}`, known("", 8, 0, 0)},
	"cached twice":               {`{"usage":{"prompt_tokens":8,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":5},"prompt_tokens_details":{}}}`, known("", 8, 0, 0)},
	"cached elsewhere":           {`{"usage":{"prompt_tokens":8,"total_tokens":8,"cached_tokens":5,"completion_tokens_details":{"cached_tokens":5}}}`, known("", 8, 0, 0)},
	"of /responses":              {`{"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7,"input_tokens_details":{"cached_tokens":2}}}`, known("", 3, 4, 2)},
	"string":                     {`{"usage":{"prompt_tokens":"3","completion_tokens":4,"total_tokens":7}}`, Usage{}},
	"float":                      {`{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7.0}}`, Usage{}},
	"exponent":                   {`{"usage":{"prompt_tokens":3,"completion_tokens":4e0,"total_tokens":7}}`, Usage{}},
	"1e400":                      {`{"usage":{"total_tokens":1e400}}`, Usage{}},
	"negative":                   {`{"usage":{"prompt_tokens":-3,"completion_tokens":4,"total_tokens":1}}`, Usage{}},
	"minus zero":                 {`{"usage":{"total_tokens":-0}}`, Usage{}},
	"NaN":                        {`{"usage":{"total_tokens":NaN}}`, Usage{}},
	"true":                       {`{"usage":{"total_tokens":true}}`, Usage{}},
	"object":                     {`{"usage":{"prompt_tokens":{"n":3},"total_tokens":7}}`, Usage{}},
	"array":                      {`{"usage":{"prompt_tokens":[3],"total_tokens":7}}`, Usage{}},
	"above the largest":          {`{"usage":{"total_tokens":9007199254740993}}`, Usage{}},
	"above 64 bits":              {`{"usage":{"total_tokens":18446744073709551617}}`, Usage{}},
	"sum above the largest":      {`{"usage":{"prompt_tokens":9007199254740992,"completion_tokens":1}}`, Usage{}},
	"many digits":                {`{"usage":{"total_tokens":` + strings.Repeat("9", 2000) + `}}`, Usage{}},
	"many zeros":                 {`{"usage":{"total_tokens":` + strings.Repeat("0", 2000) + `}}`, Usage{}},
	"null":                       {`{"usage":null}`, Usage{}},
	"missing":                    {`{"id":"x"}`, Usage{}},
	"empty":                      {`{"usage":{}}`, Usage{}},
	"by duration":                {`{"usage":{"type":"duration","seconds":3}}`, Usage{}},
	"text":                       {`{"usage":"7 tokens"}`, Usage{}},
	"number":                     {`{"usage":7}`, Usage{}},
	"list":                       {`{"usage":[{"total_tokens":7}]}`, Usage{}},
	"twice":                      {`{"usage":{"total_tokens":7},"usage":{"total_tokens":8}}`, Usage{Total: 8, Known: true}},
	"then null":                  {`{"usage":{"total_tokens":7},"usage":null}`, Usage{Total: 7, Known: true}},
	"then empty":                 {`{"usage":{"total_tokens":7},"usage":{}}`, Usage{Total: 7, Known: true}},
	"then strange":               {`{"usage":{"total_tokens":7},"usage":{"total_tokens":"8"}}`, Usage{}},
	"count twice":                {`{"usage":{"total_tokens":7,"total_tokens":8}}`, Usage{Total: 8, Known: true}},
	"count mended":               {`{"usage":{"total_tokens":"x","total_tokens":8}}`, Usage{Total: 8, Known: true}},
	"parts not carried over":     {`{"usage":{"prompt_tokens":5,"completion_tokens":5},"usage":{"prompt_tokens":1}}`, Usage{}},
	"x_groq":                     {`{"x_groq":{"usage":{"total_tokens":7}}}`, Usage{Total: 7, Known: true}},
	"x_groq and top":             {`{"x_groq":{"usage":{"total_tokens":7}},"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"x_groq null":                {`{"usage":{"total_tokens":7},"x_groq":null}`, Usage{Total: 7, Known: true}},
	"response":                   {`{"response":{"usage":{"total_tokens":7}}}`, Usage{Total: 7, Known: true}},
	"breakdown":                  {`{"usage_breakdown":{"models":[{"usage":{"total_tokens":7}}],"usage":{"total_tokens":7}}}`, Usage{}},
	"decoy in a string":          {`{"a":"\"usage\":{\"total_tokens\":9}","usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"decoy in a name":            {`{"\"usage\":{\"total_tokens\":9}":1,"\\usage":{"total_tokens":9},"usage\u0000":{"total_tokens":9}}`, Usage{}},
	"decoy in depth":             {`{"a":{"usage":{"total_tokens":9}},"b":[{"usage":{"total_tokens":9}},[[]]],"x_groq":{"x_groq":{"usage":{"total_tokens":9}}}}`, Usage{}},
	"decoy below usage":          {`{"usage":{"total_tokens":7,"usage":{"total_tokens":9},"x_groq":{"usage":{"total_tokens":9}}}}`, Usage{Total: 7, Known: true}},
	"decoy by case":              {`{"Usage":{"total_tokens":9},"usage":{"Total_Tokens":9,"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"in an array":                {`[{"usage":{"total_tokens":9}}]`, Usage{}},
	"model":                      {`{"model":"a/b-c.d_1","usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true, Model: "a/b-c.d_1"}},
	"model escaped":              {`{"model":"a\/\u0062\\\"","usage":null}`, Usage{Model: `a/b\"`}},
	"model of no sane kind":      {`{"model":7,"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"cut after usage":            {`{"usage":{"total_tokens":7},"x_gr`, Usage{Total: 7, Known: true}},
	"cut inside usage":           {`{"usage":{"total_tokens":7`, Usage{}},
	"cut before its end":         {`{"usage":{"total_tokens":7, "x":1`, Usage{}},
	"broken before":              {`{"a" 1,"usage":{"total_tokens":7}}`, Usage{}},
	"broken name":                {`{usage:{"total_tokens":7}}`, Usage{}},
	"broken escape":              {`{"a\q":1,"usage":{"total_tokens":7}}`, Usage{}},
	"broken unicode":             {`{"\u00g0":1,"usage":{"total_tokens":7}}`, Usage{}},
	"broken inside":              {`{"usage":{"total_tokens":7 8}}`, Usage{}},
	"stray comma":                {`{"a":1,,"usage":{"total_tokens":7}}`, Usage{}},
	"missing value":              {`{"a":,"usage":{"total_tokens":7}}`, Usage{}},
	"stray bracket":              {`{"a":1],"usage":{"total_tokens":7}}`, Usage{}},
	"after the end":              {`{}{"usage":{"total_tokens":7}}`, Usage{}},
	"NaN elsewhere":              {`{"a":NaN,"b":-Infinity,"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"line break in a string":     {"{\"a\":\"x\ny\x00\",\"usage\":{\"total_tokens\":7}}", Usage{Total: 7, Known: true}},
	"string ends in backslashes": {`{"a":"\\\\","b":["\\","\\\""],"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
	"deep":                       {`{"a":` + strings.Repeat(`[{"b":`, 200) + `1` + strings.Repeat(`}]`, 200) + `,"usage":{"total_tokens":7}}`, Usage{Total: 7, Known: true}},
}

func TestUsagePolicy(t *testing.T) {
	for name, c := range usagePolicy {
		t.Run(name, func(t *testing.T) {
			whole := meterPieces("application/json", []byte(c.json))
			if whole.Usage != c.want {
				t.Fatalf("%.200s:\n got %+v\nwant %+v", c.json, whole.Usage, c.want)
			}
			everySplit(t, "application/json", []byte(c.json), whole)
		})
	}
}

func TestUsageOfJSONLines(t *testing.T) {
	line := func(usage string) string { return `{"response":{"body":{"usage":` + usage + `}}}` + "\n" }
	good, strangeOne := line(`{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}`), line(`{"total_tokens":"5"}`)
	largest := line(`{"total_tokens":9007199254740992}`)
	for name, c := range map[string]struct {
		body string
		want Usage
	}{
		"two":           {good + good, known("", 4, 6, 0)},
		"a failed line": {good + `{"response":null,"error":{"code":"x"}}` + "\n" + good, known("", 4, 6, 0)},
		"a broken line": {good + "{\"response\":{{{\n" + good, known("", 4, 6, 0)},
		"blank lines":   {"\n\r\n" + good + "\n\n" + strings.TrimSpace(good), known("", 4, 6, 0)},
		"strange first": {strangeOne + good, Usage{}},
		"strange last":  {good + strangeOne, Usage{}},
		"too large":     {largest + good, Usage{}},
		"not a batch's": {`{"usage":{"total_tokens":5}}` + "\n", Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			everySplit(t, "application/jsonl", []byte(c.body), reading{Usage: c.want, Bytes: int64(len(c.body))})
		})
	}
}

func TestWhatIsNotMetered(t *testing.T) {
	body := `{"usage":{"total_tokens":7}}`
	for _, contentType := range []string{"audio/mpeg", "image/png", "VIDEO/mp4; x=y", "audio/wav"} {
		if got := meterPieces(contentType, []byte(body)); got != (reading{Bytes: int64(len(body))}) {
			t.Errorf("%s: %+v", contentType, got)
		}
	}
	for _, body := range []string{"", "\n", byteOrderMark, byteOrderMark[:2], "WEBVTT\n\ndata: {\"usage\":{\"total_tokens\":7}}\n\n", "\x00\x01", "<html>"} {
		if got := meterPieces("text/plain", []byte(body)); got != (reading{Bytes: int64(len(body))}) {
			t.Errorf("%q: %+v", body, got)
		}
	}
}
