package notify

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"keywheel/xds/event"
)

// few is how many notifications go out in messages of their own. More that wait for a receiver at once are a burst, of
// which it gets a list.
const few = 3

// maxList bounds how many go into one list.
const maxList = 100

// parcel is a message with the notifications that it settles.
type parcel struct {
	message Message
	items   []event.Notification
}

// pack makes the next message of what waits for a receiver, oldest first, which is not empty. Notifications that went
// out together before, without anybody knowing whether they arrived, go out together again.
func pack(waiting []event.Notification, maxText int) parcel {
	first := waiting[0]
	items := waiting[:1]
	switch {
	case first.Message != first.ID || len(waiting) > 1 && waiting[1].Message == first.Message:
		items = nil
		for _, n := range waiting {
			if n.Message == first.Message {
				items = append(items, n)
			}
		}
	case len(waiting) > few:
		items = fitting(waiting, maxText)
	}
	m := Message{ID: first.Message}
	for _, n := range items {
		m.Events = append(m.Events, n.Event)
	}
	if len(items) == 1 {
		t := write(&items[0].Event)
		m.Subject, m.Text = t.subject, t.body
	} else {
		m.Subject, m.Text = list(items)
	}
	m.Subject, m.Text = plain(m.Subject, maxDetail), cut(m.Text, maxText)
	return parcel{m, items}
}

// fitting returns as many of the first that wait as go into one list; of those that have no message in common with
// others yet.
func fitting(waiting []event.Notification, maxText int) []event.Notification {
	n := 1
	for n < len(waiting) && n < maxList && waiting[n].Message == waiting[n].ID {
		if _, text := list(waiting[:n+1]); maxText > 0 && units(text) > maxText {
			break
		}
		n++
	}
	return waiting[:n]
}

// list is the subject and the text of several notifications at once.
func list(items []event.Notification) (subject, text string) {
	worst := event.Info
	lines := make([]string, 0, len(items))
	for i := range items {
		e := &items[i].Event
		lines = append(lines, "• "+e.At.UTC().Format("15:04")+" "+plain(write(e).subject, maxDetail))
		if e.Level == event.Critical || worst == event.Info {
			worst = e.Level
		}
	}
	subject = fmt.Sprintf("%d notices", len(items))
	return leveled(worst, subject), subject + " (times are UTC)\n\n" + strings.Join(lines, "\n")
}

// units is a text's length in UTF-16 code units.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// cut shortens a text to at most so many UTF-16 code units (0: any number), at a character's edge.
func cut(s string, most int) string {
	if most <= 0 || units(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n += utf16.RuneLen(r); n > most-1 {
			return s[:i] + "…"
		}
	}
	return s
}
