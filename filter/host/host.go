// Package host makes the host calls of every client call, which are those that hand bytes over, without the garbage that
// the SDK makes for each: in the compiled module it calls the host by itself. Elsewhere, where tests emulate the host, it
// calls the SDK.
//
// The rules are:
//   - Shared data belongs to the caller.
//   - Anything else that is returned is good until the next call of the same function, and never after the callback of the
//     host's in which it was asked for. What is kept is copied.
package host
