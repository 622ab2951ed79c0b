//go:build faults

// Command faulty is Keywheel's filter with a bug in every callback, for tests: the request header x-fault says which one
// shows, and how: "panic request body". Places that see no request fail once, at their next turn.
package main

import (
	"runtime/debug"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/plugin"
)

func main() {}

// blind are the places that see no request.
var blind = map[string]bool{
	"start": true, "tick": true, "done": true, "the answer to a report": true,
	"held answer": true, "attempt's answer": true, "attempt's answer body": true,
}

var hoard [][]byte

func init() {
	plugin.Fault = func(where string) {
		if blind[where] { // in whatever VM that is
			how, cas, err := proxywasm.GetSharedData(where)
			if err == nil && len(how) > 1 && proxywasm.SetSharedData(where, []byte{0}, cas) == nil {
				fail(string(how))
			}
			return
		}
		header, err := proxywasm.GetHttpRequestHeader("x-fault")
		if err != nil || header == "" {
			return
		}
		how, place, _ := strings.Cut(header, " ")
		switch {
		case blind[place]:
			if where == "request headers" {
				_ = proxywasm.SetSharedData(place, []byte(how), 0)
			}
		case place == where:
			fail(how)
		}
	}
	proxywasm.SetVMContext(plugin.New())
}

func fail(how string) {
	switch how {
	case "panic":
		var none []int
		_ = none[len(hoard)]
	case "overflow": // no recover stops these two
		debug.SetMaxStack(1 << 20)
		_ = deep(1)
	case "memory":
		for {
			hoard = append(hoard, make([]byte, 1<<30))
		}
	}
}

//go:noinline
func deep(n int) int { return deep(n+1) + n }
