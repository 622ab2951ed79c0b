// Package groq reads what Groq says: the usage in its answers, the reason in its errors, the limits in its headers,
// and the few fields of a request that decide how much of a key it may need.
//
// It runs in every Envoy worker, over every byte of every answer. The rules are:
//   - It is a leaf: the small standard library only (no encoding/json, net/http, regexp), and it calls no host.
//   - Bytes are pushed in, in pieces of any size; results never depend on where the pieces were cut.
//   - Memory is bounded: nothing of a body is kept but the few short values asked for, and no piece costs an allocation.
//   - It never fails. What it cannot read it does not report, and what it cannot trust it says it does not know.
package groq
