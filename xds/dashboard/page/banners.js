// What a person must see at once. The headline of a banner is an alert, said by assistive software when it appears or
// names something else; figures stand beside it, where they can change without being said.

import { byId, el, nameOf, setAttribute, theirs } from './dom.js';
import { spendsUncounted } from './envoys.js';
import { clock, countdown, dateTime, group, headline, serves, usedPercent, wholePercent } from './format.js';

const shown = new Map(); // by what it is about

/** Shows what is true of a state; lost says that it may be out of date, and retry asks for a new one. */
export function showBanners(state, lost, retry) {
  const banners = [];
  if (lost) {
    banners.push({
      about: 'lost', tone: 'bad', headline: ['⚠️ The connection to Keywheel is lost.'],
      more: [state ? `What is shown here is from ${dateTime(state.pool.now)}. Trying again…` : 'Trying again…'], action: ['Try now', retry],
    });
  }
  if (state) banners.push(...bannersOf(state));
  for (const [about, banner] of shown) {
    if (banners.some((b) => b.about === about)) continue;
    banner.node.remove();
    shown.delete(about);
  }
  for (const banner of banners) show(banner);
}

/** Takes all banners away. */
export function clearBanners() {
  for (const banner of shown.values()) banner.node.remove();
  shown.clear();
}

/** What a browser's tab says. */
export function tabTitle(state, lost) {
  const { pool, keys } = state;
  const critical = keys.filter((key) => key.status === 'critical').map((key) => key.id);
  if (lost) return '⚠️ Connection lost - Keywheel';
  if (allOut(pool, keys)) return '🔴 All keys out - Keywheel';
  if (critical.length > 0) return `🚨 Key ${critical.join(', ')} critical - Keywheel`;
  return `${headline(state)} - Keywheel`;
}

const allOut = (pool, keys) => pool.all_out || (keys.length > 0 && !keys.some((key) => serves(key.status)));

function bannersOf({ pool, keys, proxies }) {
  const banners = [];
  if (allOut(pool, keys)) {
    banners.push({ about: 'out', tone: 'bad', headline: ['🔴 All keys are out: calls are refused.'], more: [returns(pool, keys)] });
  }
  const critical = keys.filter((key) => key.status === 'critical');
  if (critical.length > 0) {
    banners.push({
      about: 'critical', tone: 'bad', more: [remaining(critical), ...next(keys)],
      headline: ['🚨 ', ...names(critical), critical.length === 1 ? ' is critical: 90% or more of its daily limit is used.'
        : ' are critical: 90% or more of their daily limits is used.'],
    });
  }
  const invalid = keys.filter((key) => key.status === 'invalid');
  if (invalid.length > 0) {
    banners.push({
      about: 'invalid', tone: 'warn', headline: ['⛔ Groq does not serve ', ...names(invalid), '.'],
      more: ['Check it in Groq’s console; then replace its secret, or remove it.'],
    });
  }
  const uncounted = proxies.filter((proxy) => spendsUncounted(proxy, pool.now));
  if (uncounted.length > 0) {
    banners.push({
      about: 'voided', tone: 'warn', more: ['What is spent there is not counted. Start it again.'],
      headline: ['⚠️ Voided, and still running: ', ...uncounted.flatMap((proxy, i) => [i === 0 ? 'Envoy ' : ', ', theirs(proxy.node)]), '.'],
    });
  }
  if (keys.length > 0 && !proxies.some((proxy) => proxy.connected)) {
    banners.push({ about: 'alone', tone: 'info', headline: ['No Envoy is connected to this control plane.'], more: ['The figures stand still until one is.'] });
  }
  return banners;
}

const names = (keys) => keys.flatMap((key, i) => (i === 0 ? nameOf(key) : [', ', ...nameOf(key)]));

function remaining(keys) {
  if (keys.length > 1) return '';
  const [key] = keys;
  const left = key.remaining_tokens === null ? `${wholePercent(usedPercent(key))}% of its requests are used.` : `${group(key.remaining_tokens)} tokens remain.`;
  return `${left} `;
}

/** Who takes over when the key in use, which is critical, is exhausted. */
function next(keys) {
  const ready = keys.find((key) => serves(key.status) && key.status !== 'critical');
  if (!ready) return ['No other key can take over.'];
  return keys.some((key) => key.status === 'critical' && key.active) ? [...nameOf(ready), ' takes over when it is exhausted.'] : [];
}

/** When the first key can serve again, as far as that is known. */
function returns(pool, keys) {
  const times = keys.map((key) => ({ exhausted: key.resets_at, cooling: key.cooling_until })[key.status]).filter(Boolean);
  if (times.length === 0 || keys.some((key) => serves(key.status))) return '';
  const first = times.reduce((a, b) => (Date.parse(b) < Date.parse(a) ? b : a));
  return `The first one is back at ${clock(first, pool.window)} UTC, in ${countdown(Date.parse(first) - Date.parse(pool.now))}.`;
}

function show({ about, tone, headline, more, action }) {
  let banner = shown.get(about);
  if (!banner) {
    const said = el('strong', { role: tone === 'info' ? 'status' : 'alert' });
    const beside = el('span');
    banner = { said, beside, node: el('div', { class: 'banner' }, el('p', {}, said, ' ', beside)) };
    if (action) banner.node.append(el('button', { type: 'button', onclick: action[1] }, action[0]));
    shown.set(about, banner);
    byId('banners').append(banner.node);
  }
  setAttribute(banner.node, 'data-tone', tone);
  setNodes(banner.said, headline);
  setNodes(banner.beside, more);
}

/** Puts nodes in only where that changes the text: an alert is said again when its nodes change. */
function setNodes(node, nodes) {
  const wanted = nodes.map((n) => (typeof n === 'string' ? n : n.textContent)).join('');
  if (node.textContent !== wanted) node.replaceChildren(...nodes);
}
