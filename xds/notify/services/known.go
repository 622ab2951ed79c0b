package services

import (
	"maps"
	"slices"
)

// service is what we know of a service.
type service struct {
	title        bool              // it takes a title apart from the text
	chat         bool              // it shows mark-up, and notifies those whom a text names
	longest      int               // bytes of text that it takes; where it counts characters, bytes are the stricter; 0: any
	longestTitle int               // likewise
	params       map[string]string // what is always asked for
}

// known are the services. logger is left out: Keywheel writes its own log.
//
// Longest texts are the services' own (see the documentation of each), less what goes with them, or the library's where
// that refuses longer ones: telegram, lark and zulip.
var known = map[string]service{
	"bark":    {title: true, longest: 3_000, longestTitle: 250}, // Apple takes 4096 bytes, all told
	"discord": {title: true, chat: true, longest: 4_000, longestTitle: 250, params: map[string]string{"splitLines": "No"}},
	"generic": {title: true},
	"gotify":  {title: true},

	"googlechat": {chat: true, longest: 4_096},
	"hangouts":   {chat: true, longest: 4_096},
	"ifttt":      {},
	"join":       {title: true},
	"lark":       {title: true, chat: true, longest: 4_096},
	"matrix":     {chat: true, longest: 60_000},
	"mattermost": {chat: true, longest: 16_000},
	"notifiarr":  {title: true, chat: true, longest: 2_000, longestTitle: 250},
	"ntfy":       {title: true, longest: 4_096, longestTitle: 250}, // a longer text becomes an attachment
	"opsgenie":   {title: true, longest: 15_000, longestTitle: 130},
	"pagerduty":  {longest: 1_024},
	"pushbullet": {title: true},
	"pushover":   {title: true, longest: 1_024, longestTitle: 250},
	"rocketchat": {chat: true, longest: 5_000},
	"signal":     {},
	"slack":      {title: true, chat: true, longest: 40_000, longestTitle: 3_000},
	"smtp":       {title: true},
	"teams":      {title: true, chat: true, longest: 20_000, longestTitle: 250}, // a message may have 28 KB, all told
	"telegram":   {title: true, chat: true, longest: 3_800, longestTitle: 250, params: map[string]string{"parsemode": "None"}},
	"wecom":      {chat: true, longest: 2_048},
	"zulip":      {chat: true, longest: 10_000},
}

// names are the services' names.
func names() []string { return slices.Sorted(maps.Keys(known)) }
