// The Envoys that spend the keys.

import { byId, el, table, theirs, time } from './dom.js';
import { ago, group } from './format.js';

const tolerable = 1000; // ms that a clock may be off before it is shown

let shown = '';

/** Shows the Envoys, those that are connected first; now is Keywheel's time. */
export function showEnvoys(proxies, now) {
  const state = JSON.stringify([proxies, now]);
  if (state === shown) return;
  shown = state;
  byId('no-envoys').hidden = proxies.length > 0;
  if (proxies.length === 0) {
    byId('envoys').replaceChildren();
    return;
  }
  const sorted = proxies.toSorted((a, b) => b.connected - a.connected || a.node.localeCompare(b.node));
  byId('envoys').replaceChildren(table('Envoys', [
    { title: 'Node' }, { title: 'State' }, { title: 'Version' }, { title: 'Generation', number: true }, { title: 'Last report', number: true },
  ], sorted.map((proxy) => [
    el('span', { title: `Process ${proxy.incarnation}` }, theirs(proxy.node)),
    stateOf(proxy),
    proxy.version === null ? 'unknown' : theirs(proxy.version),
    group(proxy.generation),
    proxy.last_report === null ? 'never' : time(proxy.last_report, ago(proxy.last_report, now)),
  ])));
}

function stateOf(proxy) {
  const troubles = [];
  if (Math.abs(proxy.skew_ms) >= tolerable) troubles.push(`clock ${proxy.skew_ms / 1000}s off`);
  if (proxy.rejected > 0) troubles.push(`${group(proxy.rejected)} refused${proxy.last_error ? `: ${proxy.last_error}` : ''}`);
  return el('span', {},
    el('span', { class: 'state', 'data-state': proxy.connected ? 'good' : 'gone' }, (proxy.connected ? 'Connected' : 'Gone') + (proxy.mode === 'gate_only' ? ', gate only' : '')),
    troubles.length > 0 ? el('span', { class: 'hint warn', dir: 'auto' }, troubles.join(', ')) : null);
}
