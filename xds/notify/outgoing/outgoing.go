// Package outgoing is what notifiers over HTTP have in common: the connections that they send by, and the words for
// what goes wrong there.
package outgoing

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout = 10 * time.Second // a dial may outlive the request that it was begun for
	maxHeaders  = 64 << 10         // bytes of an answer's
)

// Transport returns a new transport with checked certificates, TLS 1.2 or later, and the environment's proxy. A request
// has a connection of its own.
func Transport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeaders,
		// Messages are rare, and net/http logs what comes on an idle connection, which may echo the URL.
		DisableKeepAlives: true,
	}
}

// Reason says why there was no answer. It shows the text only of those errors that are made of addresses and the
// system's words; others may quote what was sent or received.
func Reason(err error) string {
	var certificate *tls.CertificateVerificationError
	var operation *net.OpError
	var other net.Error
	switch {
	case errors.As(err, &certificate):
		return "this machine does not trust its certificate"
	case errors.As(err, &operation):
		return operation.Error()
	case errors.As(err, &other) && other.Timeout():
		return "it took too long"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed too early"
	}
	return "what came is not an answer in HTTP; see that the address and the proxy are right"
}
