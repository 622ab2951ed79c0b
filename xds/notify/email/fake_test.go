package email_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a fake does at a stage instead of answering.
const (
	hang  = "hang"  // says nothing more
	drop  = "drop"  // closes the connection
	drip  = "drip"  // says a byte now and then, and no line ever ends
	flood = "flood" // says a line of 10 MiB
)

// fake is a mail server that misbehaves as it is told. It records every byte that it is sent.
type fake struct {
	addr    *net.TCPAddr
	reached chan string // what it was told to do in place of an answer, when it came to that
	answers map[string][]string
	secure  *tls.Config // for STARTTLS

	mu    sync.Mutex
	clear bytes.Buffer // what came without TLS
	used  map[string]int
	mails int
}

// newFake starts a server that answers each command, "greeting" and "end" (of a message) with the first of answers, the
// next time with the next, and with the last ever after; and as servers do where there are none.
func newFake(t *testing.T, answers map[string][]string, secure *tls.Config) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		addr: listener.Addr().(*net.TCPAddr), reached: make(chan string, 100), answers: answers, secure: secure, used: make(map[string]int),
	}
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			group.Go(func() { defer conn.Close(); f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return f
}

var usual = map[string]string{
	"greeting": "220 fake", "EHLO": "250 fake", "HELO": "250 fake", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", "end": "250 taken",
	"QUIT": "221 bye", "STARTTLS": "220 go on", "*": "501 broken off", "AUTH": "235 in",
}

// answer is what is said at a stage.
func (f *fake) answer(stage string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.answers[stage]
	if len(list) == 0 {
		return usual[stage]
	}
	i := min(f.used[stage], len(list)-1)
	f.used[stage]++
	return list[i]
}

// serve holds one conversation.
func (f *fake) serve(conn net.Conn) {
	r := bufio.NewReader(io.TeeReader(conn, f))
	if !f.say(conn, r, "greeting") {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		if !f.say(conn, r, verb) {
			return
		}
		switch verb {
		case "STARTTLS":
			if f.secure == nil {
				continue
			}
			secured := tls.Server(conn, f.secure)
			if secured.Handshake() != nil {
				return
			}
			conn, r = secured, bufio.NewReader(secured)
		case "DATA":
			for line := ""; line != ".\r\n"; {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			f.mu.Lock()
			f.mails++
			f.mu.Unlock()
			if !f.say(conn, r, "end") {
				return
			}
		}
	}
}

// say answers at a stage, or does what it is told to do there. It says whether the conversation goes on.
func (f *fake) say(conn net.Conn, r io.Reader, stage string) bool {
	text := f.answer(stage)
	switch text {
	case hang:
		f.reached <- text
		_, _ = io.Copy(io.Discard, r)
		return false
	case drop:
		return false
	case drip:
		f.reached <- text
		for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
			if _, err := conn.Write([]byte("2")); err != nil {
				tick.Stop()
				return false
			}
		}
	case flood:
		_, _ = conn.Write([]byte("220 " + strings.Repeat("x", 10<<20) + "\r\n"))
		return false
	}
	_, err := conn.Write([]byte(text + "\r\n"))
	return err == nil
}

// Write records what came.
func (f *fake) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clear.Write(p)
}

// said is all that came without TLS: with STARTTLS also the handshake's bytes.
func (f *fake) said() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.Clone(f.clear.Bytes())
}

// taken is how many messages came to their end.
func (f *fake) taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mails
}
