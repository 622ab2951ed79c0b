// Command mailsink stands in for Mailpit, the mailbox of examples/docker-compose, where its image cannot be had: it takes
// mail on port 1025, and tells what it took as Mailpit does, on GET /api/v1/messages of port 8025.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"keywheel/e2e/sinks"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "mailsink:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// run serves until ctx ends, or somebody asks the program to.
func run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	box, mail := sinks.NewMail(":1025", nil)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/messages", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list(box.Got()))
	})
	api := &http.Server{Addr: ":8025", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 2)
	go func() { ended <- mail.ListenAndServe() }()
	go func() { ended <- api.ListenAndServe() }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// messages is what the API of Mailpit answers, as far as the tests read it.
type messages struct {
	Total    int       `json:"total"`
	Messages []message `json:"messages"`
}

type message struct {
	MessageID string
	Subject   string
	To        []address
}

type address struct{ Address string }

// list has the newest letter first.
func list(letters []sinks.Letter) messages {
	all := messages{Total: len(letters), Messages: []message{}}
	for i := len(letters) - 1; i >= 0; i-- {
		m := message{MessageID: letters[i].ID, Subject: letters[i].Subject}
		for _, to := range letters[i].To {
			m.To = append(m.To, address{to})
		}
		all.Messages = append(all.Messages, m)
	}
	return all
}
