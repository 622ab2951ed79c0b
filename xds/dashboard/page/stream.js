// Keeps the server-sent events flowing: reconnects with a back-off, notices silence, and says when the session is over.

import { access, session } from './api.js';

const shortest = 1000; // ms before the first new try
const longest = 30000;
const silence = 45000; // ms; the server sends a state at least every 15 s

/**
 * Starts a stream. on.state and on.event get the parsed data. on.opened is called after the first state of each
 * connection: what is asked for from then on overlaps with the events that come. on.lost is called when a connection
 * breaks. Returns {stop, retry}; retry tries at once.
 */
export function connect(on) {
  let source = null;
  let timer = 0;
  let watchdog = 0;
  let wait = shortest;
  let lost = false;
  let stopped = false;

  function open() {
    let first = true;
    source = new EventSource('/api/v1/stream');
    listen();
    source.addEventListener('state', (message) => {
      listen();
      wait = shortest;
      lost = false;
      on.state(JSON.parse(message.data));
      if (first) on.opened();
      first = false;
    });
    source.addEventListener('event', (message) => on.event(JSON.parse(message.data)));
    source.addEventListener('error', fail);
  }

  // A connection that says nothing for long is as good as none.
  function listen() {
    clearTimeout(watchdog);
    watchdog = setTimeout(fail, silence);
  }

  function fail() {
    source?.close();
    source = null;
    clearTimeout(watchdog);
    if (stopped) return;
    if (!lost) {
      lost = true;
      on.lost();
    }
    clearTimeout(timer);
    timer = setTimeout(tryAgain, wait * (0.75 + Math.random() / 2)); // apart from other pages that lost it too
    wait = Math.min(wait * 2, longest);
  }

  // EventSource does not tell why it failed, so the session is asked for first.
  async function tryAgain() {
    timer = 0;
    try {
      if (await access() === null) {
        if (!stopped) session.dispatchEvent(new Event('signed-out'));
        return;
      }
    } catch {
      fail();
      return;
    }
    if (!stopped && !source) open();
  }

  function retry() {
    if (stopped || source || !timer) return;
    clearTimeout(timer);
    wait = shortest;
    tryAgain();
  }

  function visible() {
    if (!document.hidden) retry();
  }

  addEventListener('online', retry);
  document.addEventListener('visibilitychange', visible);
  open();
  return {
    retry,
    stop() {
      stopped = true;
      source?.close();
      clearTimeout(timer);
      clearTimeout(watchdog);
      removeEventListener('online', retry);
      document.removeEventListener('visibilitychange', visible);
    },
  };
}
