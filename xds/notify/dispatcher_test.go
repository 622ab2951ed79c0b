package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keywheel/xds/event"
	"keywheel/xds/notify/outboxtest"
)

func TestSlowReceiverDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := &peer{answer: hang}, &peer{}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "slow", Notifier: slow}, Receiver{Name: "quick", Notifier: quick})
		begin := time.Now()
		o.add(3, "slow", "quick")
		synctest.Wait()
		if quick.attempts() != 3 || !time.Now().Equal(begin) {
			t.Errorf("%d reached the quick one in %v", quick.attempts(), time.Since(begin))
		}
		pass(sendTime + 1) // the bubble's time
		synctest.Wait()
		if got := o.States("slow"); got[event.Waiting] != 3 {
			t.Errorf("the slow one's are %v", got)
		}
		o.stop()
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answer: func(_ context.Context, n int) error {
			if n == 1 {
				return fmt.Errorf("telegram: %w", &Failure{Err: errors.New("too many requests"), RetryAfter: 47 * time.Second})
			}
			return nil
		}}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "telegram", Notifier: p})
		o.add(1, "telegram")
		pass(2 * time.Minute)
		synctest.Wait()
		if p.attempts() != 2 || p.at[1].Sub(p.at[0]) < 47*time.Second || p.got[0].ID != p.got[1].ID {
			t.Errorf("attempts at %v", p.at)
		}
		if n := o.All[0]; n.State != event.Sent || n.Attempts != 2 {
			t.Errorf("%+v", n)
		}
		o.stop()
	})
}

// A receiver that is away for an hour is tried ever more rarely, and then gets all: what waited alone, and what came
// meanwhile as a list.
func TestAnHourAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(time.Hour)
		p := &peer{answer: func(context.Context, int) error {
			if time.Now().Before(back) {
				return errors.New("connection refused")
			}
			return nil
		}}
		other := &peer{}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "telegram", Notifier: p, MaxText: 4096}, Receiver{Name: "email", Notifier: other})
		o.add(1, "telegram", "email")
		pass(30 * time.Minute)
		o.add(20, "telegram")
		pass(30*time.Minute - 1)
		synctest.Wait()
		if n := p.attempts(); n < 12 || n > 30 {
			t.Errorf("%d attempts in an hour", n)
		}
		for i := 2; i < len(p.at); i++ {
			if wait := p.at[i].Sub(p.at[i-1]); wait < firstWait/2 || wait > longestWait*3/2 {
				t.Errorf("attempt %d came after %v", i+1, wait)
			}
		}
		if other.attempts() != 1 {
			t.Error("e-mail waits for Telegram")
		}
		tried := p.attempts()
		pass(longestWait * 3 / 2)
		synctest.Wait()
		if got := o.States("telegram"); got[event.Sent] != 21 {
			t.Errorf("they are %v", got)
		}
		if n := p.attempts() - tried; n != 1 || len(p.got[tried].Events) != 21 {
			t.Errorf("%d messages", n)
		}
		if strings.Count(o.log.String(), "could not be sent") != 1 || strings.Count(o.log.String(), "received again") != 1 {
			t.Errorf("the log says\n%s", o.log)
		}
		o.stop()
	})
}

func TestPermanentFailureStopsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answer: func(_ context.Context, n int) error {
			if n == 1 {
				return &Failure{Err: errors.New("400 chat not found"), Permanent: true}
			}
			return nil
		}}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "telegram", Notifier: p})
		o.add(2, "telegram")
		synctest.Wait()
		if o.All[0].State != event.Failed || o.All[0].Error != "400 chat not found" || o.All[1].State != event.Sent || p.attempts() != 2 {
			t.Errorf("%+v", o.All)
		}
		o.stop()
	})
}

func TestGivenUpInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{answer: func(context.Context, int) error { return errors.New("no") }}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "telegram", Notifier: p})
		o.add(1, "telegram")
		pass(48 * time.Hour)
		synctest.Wait()
		if o.All[0].State != event.Failed || p.attempts() != maxAttempts {
			t.Errorf("%+v after %d attempts", o.All[0], p.attempts())
		}
		o.stop()
	})
}

// A store that takes nothing for a while makes no repeats.
func TestSentOnceThoughTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		b := outboxtest.New(time.Now)
		b.Break(true)
		o := open(t, b, Receiver{Name: "telegram", Notifier: p})
		o.add(1, "telegram")
		pass(time.Minute)
		b.Break(false)
		pass(lookEvery)
		synctest.Wait()
		if p.attempts() != 1 || o.States("telegram")[event.Sent] != 1 {
			t.Errorf("%d attempts, %v", p.attempts(), o.All)
		}
		o.stop()
	})
}

func TestMessagesKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "telegram", Notifier: p, Interval: time.Second, MaxText: 4096})
		o.add(3, "telegram")
		pass(time.Minute)
		o.add(200, "telegram")
		pass(time.Minute)
		synctest.Wait()
		if got := o.States("telegram"); got[event.Sent] != 203 {
			t.Errorf("they are %v", got)
		}
		for i := 1; i < len(p.at); i++ {
			if wait := p.at[i].Sub(p.at[i-1]); wait < time.Second {
				t.Errorf("message %d came after %v", i+1, wait)
			}
		}
		if n := p.attempts(); n > 8 {
			t.Errorf("%d messages for 203 notifications", n)
		}
		o.stop()
	})
}

// Whichever clock says so first ends a wait: the account's can be moved, and can go back.
func TestWaitsEndByEitherClock(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"moved ahead": time.Hour, "gone back": -9 * time.Hour, "gone back a little": -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{answer: func(_ context.Context, n int) error {
				if n == 1 {
					return &Failure{Err: errors.New("busy"), RetryAfter: 20 * time.Minute}
				}
				return nil
			}}
			o := open(t, outboxtest.New(time.Now), Receiver{Name: "telegram", Notifier: p})
			o.add(1, "telegram")
			synctest.Wait()
			o.Shift(ahead)
			pass(20*time.Minute + 2*lookEvery)
			synctest.Wait()
			if p.attempts() != 2 {
				t.Fatalf("%s: %d attempts", name, p.attempts())
			}
			if soon := p.at[1].Sub(p.at[0]) < 20*time.Minute; soon != (ahead > 0 || ahead < -MaxRetryAfter) {
				t.Errorf("%s: the second attempt came after %v", name, p.at[1].Sub(p.at[0]))
			}
			o.stop()
		})
	}
}

// At the end what is being sent is given a moment; what does not arrive in it waits for the next start.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &peer{answer: func(ctx context.Context, _ int) error {
			select {
			case <-time.After(stopTime / 2):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		stuck := &peer{answer: hang}
		o := open(t, outboxtest.New(time.Now), Receiver{Name: "slow", Notifier: slow}, Receiver{Name: "stuck", Notifier: stuck})
		o.add(1, "slow", "stuck", "gone")
		synctest.Wait()
		begin := time.Now()
		o.stop()
		if took := time.Since(begin); took > stopTime {
			t.Errorf("it took %v to stop", took)
		}
		if o.All[0].State != event.Sent || o.All[1].State != event.Waiting || o.All[1].Attempts != 0 {
			t.Errorf("%+v", o.All)
		}
		o = open(t, o.Box, Receiver{Name: "stuck", Notifier: &peer{}})
		synctest.Wait()
		if o.All[1].State != event.Sent || o.All[2].State != event.Failed {
			t.Errorf("after the start %+v", o.All)
		}
		o.stop()
	})
}

func TestTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &peer{}, &peer{answer: hang}
		d := NewDispatcher(Options{Outbox: outboxtest.New(time.Now), Now: time.Now, Receivers: []Receiver{{Name: "good", Notifier: good}, {Name: "bad", Notifier: bad}}})
		got := d.Try(t.Context())
		if len(got) != 2 || got[0] != (Tried{"good", ""}) || got[1] != (Tried{"bad", "it did not answer in time"}) {
			t.Errorf("%+v", got)
		}
		if m := good.got[0]; m.ID == "" || m.Subject != "ℹ️ Keywheel test message" || !strings.Contains(m.Text, "reaches you here") {
			t.Errorf("%+v", m)
		}
	})
}
