package email

import (
	"github.com/wneessen/go-mail/smtp"

	"keywheel/xds/notify"
)

// Content is a message as it is sent.
func Content(n *Notifier, m notify.Message) ([]byte, error) {
	l, err := n.write(m)
	return l.content, err
}

// SignsIn says whether the password would be proven by one of the offered ways over a connection without TLS.
func SignsIn(n *Notifier, client *smtp.Client, local bool, offered ...string) bool {
	s := session{Notifier: n, client: client, local: local}
	return s.mechanism(offered) != nil
}
