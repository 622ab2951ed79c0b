package groq

import (
	"strings"
	"testing"
)

const sevenEvent = `data: {"usage":{"total_tokens":7}}`

var seven = Usage{Total: 7, Known: true}

// eventStreams are streams, with LF for every line end, and what is read of them.
var eventStreams = map[string]struct {
	body string
	want reading
}{
	"one":                     {sevenEvent + "\n\n", reading{Usage: seven, Events: 1}},
	"last wins":               {"data: {\"usage\":{\"total_tokens\":5}}\n\n" + sevenEvent + "\n\n", reading{Usage: seven, Events: 2}},
	"null does not":           {sevenEvent + "\n\ndata: {\"usage\":null,\"x_groq\":{\"usage\":null}}\n\n", reading{Usage: seven, Events: 2}},
	"strange does":            {sevenEvent + "\n\ndata: {\"usage\":{\"total_tokens\":-1}}\n\n", reading{Events: 2}},
	"done":                    {sevenEvent + "\n\ndata: [DONE]\n\n", reading{Usage: seven, Events: 2, Done: true}},
	"done without a space":    {"data:[DONE]", reading{Events: 1, Done: true}},
	"not done":                {"data: [DONE\n\ndata: [DON]\n\ndata:  [DONE]\n\ndata: x[DONE]\n\n", reading{Events: 4}},
	"not done in two lines":   {": c\ndata: [DO\ndata: NE]\n\n", reading{Events: 1}},
	"not done by comment":     {":[DONE]\n\nevent: [DONE]\n\n", reading{}},
	"usage after done":        {"data: [DONE]\n\n" + sevenEvent + "\n\n", reading{Usage: seven, Events: 2, Done: true}},
	"event without data":      {"event: error\n\n" + sevenEvent + "\n\n", reading{Usage: seven, Events: 1}},
	"empty data":              {"data\n\ndata:\n\ndata: \n\n", reading{Events: 3}},
	"data in three lines":     {"data: {\"usage\":{\ndata\ndata:\"total_tokens\":\ndata:  7}}\n\n", reading{Usage: seven, Events: 1}},
	"usage cut off":           {"data: {\"usage\":{\"total_tokens\":7", reading{Events: 1}},
	"usage cut off, next":     {"data: {\"usage\":{\"total_tokens\":7\n\ndata: }}\n\n", reading{Events: 2}},
	"usage complete":          {"data: {\"usage\":{\"total_tokens\":7}", reading{Usage: seven, Events: 1}},
	"data indented":           {": c\n data: {\"usage\":{\"total_tokens\":9}}\n\n", reading{}},
	"data capitals":           {": c\nDATA: {\"usage\":{\"total_tokens\":9}}\n\n", reading{}},
	"long field name":         {": c\ndata" + strings.Repeat("x", 100) + ": {\"usage\":{\"total_tokens\":9}}\n\n" + sevenEvent, reading{Usage: seven, Events: 1}},
	"byte-order mark inside":  {sevenEvent + "\n\n" + byteOrderMark + "data: {\"usage\":{\"total_tokens\":9}}\n\n", reading{Usage: seven, Events: 1}},
	"half a byte-order mark":  {byteOrderMark[:2] + sevenEvent + "\n\n", reading{}},
	"error":                   {"event: error\ndata: {\"error\":{\"code\":\"c\",\"status_code\":503}}\n\n", reading{Events: 1, Failed: true, Status: 503, Code: "c"}},
	"error without its name":  {"data: {\"error\":{\"code\":null,\"message\":\"m\"}}\n\n", reading{Events: 1, Failed: true}},
	"error without its end":   {"event: error\ndata: {\"error\":{\"status_code\":500}}", reading{Events: 1, Failed: true, Status: 500}},
	"error named afterwards":  {"data: {}\nevent:error\n\n", reading{Events: 1, Failed: true}},
	"error of another kind":   {"event: error\ndata: Service Unavailable\n\n", reading{Events: 1, Failed: true}},
	"error cut off":           {"event: error\ndata: {\"error\":{\"status_code\":500", reading{Events: 1, Failed: true}},
	"error renamed":           {"event: error\nevent: message\ndata: {}\n\n", reading{Events: 1}},
	"error name not carried":  {"event: error\n\ndata: {}\n\n", reading{Events: 1}},
	"error null":              {"data: {\"error\":null,\"response\":{\"error\":null}}\n\n", reading{Events: 1}},
	"error status strange":    {"event: error\ndata: {\"error\":{\"status_code\":99999,\"code\":\"a b\"}}\n\n", reading{Events: 1, Failed: true}},
	"error code number":       {"event: error\ndata: {\"error\":{\"status_code\":\"500\",\"code\":500}}\n\n", reading{Events: 1, Failed: true, Code: "500"}},
	"long event name":         {"event: error" + strings.Repeat("r", 100) + "\ndata: {}\n\n", reading{Events: 1}},
	"code of no error":        {"data: {\"code\":\"c\"}\n\n", reading{Events: 1}},
	"completed":               {"event: response.completed\ndata: {\"response\":{\"usage\":{\"total_tokens\":7}}}\n\n", reading{Usage: seven, Events: 1, Done: true}},
	"incomplete":              {"event: response.incomplete\ndata: {}\n\n", reading{Events: 1, Done: true}},
	"in JSON, other's object": {"data: {\"choices\":[{\"usage\":{\"total_tokens\":9}}],\"usage_breakdown\":{\"usage\":{\"total_tokens\":9}}}\n\n", reading{Events: 1}},
	"a JSON object":           {"\n {\"usage\":{\"total_tokens\":7}}", reading{Usage: seven, Done: true}},
}

func TestEventStreams(t *testing.T) {
	for name, c := range eventStreams {
		t.Run(name, func(t *testing.T) {
			for ends, lineEnd := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r"} {
				t.Run(ends, func(t *testing.T) {
					body := strings.ReplaceAll(c.body, "\n", lineEnd)
					want := c.want
					want.Bytes = int64(len(body))
					everySplit(t, "text/event-stream", []byte(body), want)
				})
			}
		})
	}
}
