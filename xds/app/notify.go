package app

import (
	"log/slog"
	"strconv"
	"time"

	"keywheel/xds/clock"
	"keywheel/xds/config"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/notify"
	"keywheel/xds/notify/email"
	"keywheel/xds/notify/services"
	"keywheel/xds/notify/telegram"
	"keywheel/xds/notify/webhook"
)

// Telegram takes one message a second in a chat, of 4096 characters: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
const (
	telegramInterval = time.Second
	telegramText     = 4096
	// between is the least time between two messages to any other receiver.
	between = time.Second
)

// Told returns the names of who is told of what happens, besides the log and the page. The error says which of their
// settings cannot be used.
func Told(c *config.Config) ([]string, error) {
	all, err := unused(c)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.Name
	}
	return names, nil
}

// Route is the settings' word on who hears of what happens to an account while no control plane runs on it. The error says
// which of the receivers' settings cannot be used.
func Route(c *config.Config) (func(*event.Event) ledger.Route, error) {
	all, err := unused(c)
	if err != nil {
		return nil, err
	}
	return route(c, all), nil
}

// unused makes receivers that nothing is sent to.
func unused(c *config.Config) ([]notify.Receiver, error) {
	return receivers(Options{Config: c, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
}

// receivers makes everybody who is told of what happens. An error is a config.Problem.
func receivers(o Options) ([]notify.Receiver, error) {
	all, err := notifiers(o)
	for i := range all {
		all[i].Notifier = o.tracing.Notifier(all[i].Notifier, all[i].Name)
	}
	return all, err
}

func notifiers(o Options) ([]notify.Receiver, error) {
	var all []notify.Receiver
	c := &o.Config.Notify
	if c.Telegram != nil {
		for i, chat := range c.Telegram.Chats {
			n, err := telegram.New(telegram.Config{Token: c.Telegram.Token, ChatID: chat, APIURL: c.Telegram.URL})
			if err != nil {
				return nil, config.Problem{Name: "TELEGRAM_BOT_TOKEN", Wrong: err.Error()}
			}
			all = append(all, notify.Receiver{
				Name: numbered(notify.Telegram, i), Kind: notify.Telegram, Notifier: n, MaxText: telegramText, Interval: telegramInterval,
			})
		}
	}
	if c.Email != nil {
		n, err := email.New(email.Config{Server: email.Server(c.Email.Server), From: c.Email.From, To: c.Email.To, Now: o.Clock.Now, Log: o.Log})
		if err != nil {
			return nil, config.Problem{Name: "SMTP_URL", Wrong: err.Error()}
		}
		all = append(all, notify.Receiver{Name: string(notify.Email), Kind: notify.Email, Notifier: n, Interval: between})
	}
	if c.Webhook != nil {
		n, err := webhook.New(webhook.Config{URL: c.Webhook.URL, Secret: c.Webhook.Secret, Version: o.Version, Now: time.Now})
		if err != nil {
			return nil, config.Problem{Name: "KEYWHEEL_WEBHOOK_URL", Wrong: err.Error()}
		}
		all = append(all, notify.Receiver{Name: string(notify.Webhook), Kind: notify.Webhook, Notifier: n})
	}
	return addServices(all, c.Services)
}

func addServices(all []notify.Receiver, configured []config.Service) ([]notify.Receiver, error) {
	for _, s := range configured {
		n, _, err := services.New(s.URL)
		if err != nil {
			return nil, config.Problem{Name: "KEYWHEEL_NOTIFY_URLS", Wrong: s.Name + ": " + err.Error()}
		}
		all = append(all, notify.Receiver{
			Name: s.Name, Kind: notify.Services, Notifier: n, Interval: between,
			MaxText: n.MaxText() * 3 / 4, // it counts bytes; what is longer it shortens by itself
		})
	}
	return all, nil
}

// numbered is a receiver's name: of several of a kind the second is called "telegram-2".
func numbered(kind notify.Kind, i int) string {
	if i == 0 {
		return string(kind)
	}
	return string(kind) + "-" + strconv.Itoa(i+1)
}

// route is the settings' word on who hears of what.
func route(c *config.Config, all []notify.Receiver) func(*event.Event) ledger.Route {
	var rules []notify.Rule
	for _, r := range c.Notify.Routes {
		rules = append(rules, notify.Rule{Kind: event.Kind(r.Event), Level: event.Level(r.Level), Receivers: r.Receivers})
	}
	router := notify.NewRouter(all, rules)
	return func(e *event.Event) ledger.Route {
		log, to := router.Route(e)
		return ledger.Route{Log: log, Receivers: to}
	}
}
