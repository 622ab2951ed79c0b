// The Envoys that spend the keys.

import { byId, el, table, theirs, time } from './dom.js';
import { ago, count, group } from './format.js';

const tolerable = 1000; // ms that a clock may be off before it is shown

const threeReports = 180_000; // ms in which a process that runs reports, whatever the interval

let shown = '';

/** Whether an Envoy is voided and goes on to spend; now is Keywheel's time. */
export const spendsUncounted = (proxy, now) => proxy.voided && proxy.last_refused !== null && Date.parse(now) - Date.parse(proxy.last_refused) <= threeReports;

/** Shows the Envoys, those that run first; now is Keywheel's time. */
export function showEnvoys(proxies, now) {
  const state = JSON.stringify([proxies, now]);
  if (state === shown) return;
  shown = state;
  byId('no-envoys').hidden = proxies.length > 0;
  if (proxies.length === 0) {
    byId('envoys').replaceChildren();
    return;
  }
  const runs = (proxy) => proxy.connected || spendsUncounted(proxy, now);
  const sorted = proxies.toSorted((a, b) => runs(b) - runs(a) || a.node.localeCompare(b.node));
  byId('envoys').replaceChildren(table('Envoys', [
    { title: 'Node' }, { title: 'State' }, { title: 'Version' }, { title: 'Generation', number: true }, { title: 'Last report', number: true },
  ], sorted.map((proxy) => [
    el('span', { title: `Process ${proxy.incarnation}` }, theirs(proxy.node)),
    stateOf(proxy, now),
    proxy.version === null ? 'unknown' : theirs(proxy.version),
    group(proxy.generation),
    proxy.last_report === null ? 'never' : time(proxy.last_report, ago(proxy.last_report, now)),
  ])));
}

function stateOf(proxy, now) {
  const troubles = [];
  if (proxy.last_refused !== null) troubles.push(`reports refused, the last ${ago(proxy.last_refused, now)}`);
  if (proxy.quarantined_tokens > 0) troubles.push(`${group(proxy.quarantined_tokens)} tokens set aside`);
  if (proxy.panics > 0) troubles.push(`${count(proxy.panics, 'bug')} of the filter`);
  if (Math.abs(proxy.skew_ms) >= tolerable) troubles.push(`clock ${proxy.skew_ms / 1000}s off`);
  if (proxy.rejected > 0) troubles.push(`${group(proxy.rejected)} refused${proxy.last_error ? `: ${proxy.last_error}` : ''}`);
  let [state, word] = proxy.connected ? ['good', 'Connected'] : ['gone', 'Gone'];
  if (proxy.voided) [state, word] = ['bad', 'Voided'];
  return el('span', {},
    el('span', { class: 'state', 'data-state': state }, word + (proxy.mode === 'gate_only' ? ', gate only' : '')),
    troubles.length > 0 ? el('span', { class: 'hint warn', dir: 'auto' }, troubles.join(', ')) : null);
}
