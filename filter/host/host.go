// Package host makes the host calls of every client call, which are those that hand bytes over, without the garbage that
// the SDK makes for each: in the compiled module it calls the host by itself. Elsewhere, where tests emulate the host, it
// calls the SDK.
//
// What a call returns belongs to the caller.
package host
