package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	var log strings.Builder
	now := time.Unix(1_800_000_000, 0)
	r := newRefusals(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	peer := func(n int) net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(n)), Port: 40_000 + n} }
	stranger := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	lines := func(what string, want int) {
		t.Helper()
		if got := strings.Count(log.String(), "\n"); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s", what, got, want, log.String())
		}
	}
	for range 5 {
		r.tell(peer(1), stranger)
	}
	lines("the same again and again", 1)
	r.tell(peer(1), errors.New(noCertificate))
	r.tell(peer(2), stranger)
	lines("another reason and another host", 3)
	now = now.Add(sayAgain)
	r.tell(peer(1), stranger)
	lines("a while later", 4)
	if !strings.Contains(log.String(), "others_not_shown=4") {
		t.Errorf("those that were not shown are not counted:\n%s", log.String())
	}
	for n := range 100 {
		r.tell(peer(100+n), stranger)
	}
	lines("very many hosts", 3+sayAtMost)
	for _, err := range []error{io.EOF, context.DeadlineExceeded, &net.OpError{Op: "read", Err: errors.New("reset by peer")}} {
		now = now.Add(sayAgain)
		r.tell(peer(1), err)
	}
	lines("nothing that anybody could put right", 3+sayAtMost)
}

// TestPeersWithoutAPort are shown all the same.
func TestPeersWithoutAPort(t *testing.T) {
	var log strings.Builder
	r := newRefusals(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return time.Unix(1_800_000_000, 0) })
	r.tell(&net.UnixAddr{Name: "a socket"}, fmt.Errorf("wrapped: %w", tls.RecordHeaderError{Msg: "no TLS"}))
	if !strings.Contains(log.String(), `peer="a socket"`) || !strings.Contains(log.String(), "does not speak TLS") {
		t.Error(log.String())
	}
}
