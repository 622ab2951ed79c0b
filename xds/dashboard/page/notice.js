// A message about what was just done, and how far it is in effect.

import { byId, setText } from './dom.js';
import { count } from './format.js';

const enough = 8000; // ms that a message stays once nothing more is to come

let envoys = []; // the newest that are known
let text = '';
let generation = null; // of the change; null: there is nothing to wait for
let timer = 0;

/** Says that something was done; with a generation it goes on to say which Envoys know. */
export function notice(done, changed = null) {
  text = done;
  generation = changed;
  clearTimeout(timer);
  timer = 0;
  setText(byId('notice-text'), text);
  byId('notice').hidden = false;
  if (generation === null) timer = setTimeout(closeNotice, enough);
  else showEffect(envoys);
}

/** Takes the message away. */
export function closeNotice() {
  clearTimeout(timer);
  generation = null;
  byId('notice').hidden = true;
}

/** Says which of the Envoys have the change that the message is about. */
export function showEffect(proxies) {
  envoys = proxies;
  if (generation === null || timer) return;
  const connected = proxies.filter((proxy) => proxy.connected);
  const knowing = connected.filter((proxy) => Math.min(proxy.generation, proxy.config) >= generation).length;
  let effect = `In effect on ${knowing} of ${count(connected.length, 'Envoy')}.`;
  if (connected.length === 0) effect = 'It takes effect when an Envoy connects.';
  else if (knowing === connected.length) effect = 'In effect on every Envoy.';
  setText(byId('notice-text'), `${text} ${effect}`);
  if (connected.length === 0 || knowing === connected.length) timer = setTimeout(closeNotice, enough);
}
