// What a day came to: today so far, or any that is still kept.

import { get } from './api.js';
import { byId, el, nameOf, showError, table, theirs, throttle } from './dom.js';
import { clock, duration, group, moveDay } from './format.js';

let today = '';
let picked = ''; // by hand; empty: today
let counted = ''; // what today came to when it was last asked for

/** Takes a state: the day may have changed, or come to more. */
export function updateDays({ pool }) {
  const now = `${pool.window} ${pool.requests} ${pool.used}`;
  if (today !== pool.window) {
    today = pool.window;
    byId('day').max = today;
    if (!picked) counted = '';
  }
  if (!picked && counted !== now) {
    counted = now;
    loadDay();
  }
}

/** Sets up what is there once. */
export function watchDays() {
  byId('day').addEventListener('change', () => { if (byId('day').validity.valid) pick(byId('day').value); });
  byId('day-before').addEventListener('click', () => pick(moveDay(picked || today, -1)));
  byId('day-after').addEventListener('click', () => pick(moveDay(picked || today, 1)));
}

/** Forgets which day was picked. */
export function clearDays() {
  today = picked = counted = '';
  byId('day-content').replaceChildren();
}

function pick(day) {
  picked = day >= today ? '' : day;
  show();
}

const loadDay = throttle(30000, () => show());

async function show() {
  const day = picked || today;
  if (!day) return;
  byId('day').value = day;
  byId('day-after').disabled = day === today;
  try {
    const [summary, callers] = await Promise.all([get(`/api/v1/summaries/${day}`), callersOf(day)]);
    if (day !== (picked || today)) return; // another was picked meanwhile
    byId('day-content').replaceChildren(...contentOf(summary, callers));
    showError(byId('day-error'), null);
  } catch (problem) {
    byId('day-content').replaceChildren();
    showError(byId('day-error'), problem);
  }
}

/** Usage by caller: none where callers are not told apart. */
async function callersOf(day) {
  try {
    const { series } = await get(`/api/v1/usage?from=${day}&to=${day}&by=caller&step=1d`);
    return series.map(({ name, label, points }) => ({
      name: label || name, tokens: points.reduce((sum, p) => sum + p.tokens, 0), requests: points.reduce((sum, p) => sum + p.requests, 0),
    }));
  } catch {
    return []; // the day's figures are worth showing without it
  }
}

function contentOf(s, callers) {
  const optional = (value, text) => (value === null ? '–' : text(value));
  const tiles = [
    ['Requests', group(s.requests)], ['Tokens', group(s.tokens)], ['Success rate', optional(s.success_rate, (rate) => `${rate}%`)],
    ['Avg response', optional(s.avg_response_ms, (ms) => `${(ms / 1000).toFixed(1)}s`)], ['Rotations', group(s.rotations)],
    ['Rescues', group(s.rescues)], ['Alerts', group(s.alerts)], ['Refused', group(s.refused)], ['Failed', group(s.failed)],
    ['Cut off', group(s.cut)], ['Downtime', duration(s.downtime_seconds)],
  ];
  const columns = (first, ...rest) => [{ title: first }, ...rest.map((title) => ({ title, number: true }))];
  const keys = table('Keys', columns('Key', 'Requests', 'Tokens', 'Limit', 'Used'), s.keys.map((k) => [
    el('span', {}, ...nameOf(k)), group(k.requests), group(k.tokens), optional(k.limit_tokens, group), optional(k.percent, (p) => `${p.toFixed(1)}%`),
  ]));
  const models = s.models.length === 0 ? null : table('Models', columns('Model', 'Prompt', 'Completion', 'Tokens'),
    s.models.map((m) => [theirs(m.model), group(m.prompt_tokens), group(m.completion_tokens), group(m.tokens)]));
  const by = callers.length === 0 ? null : table('Callers', columns('Caller', 'Requests', 'Tokens'),
    callers.sort((a, b) => b.tokens - a.tokens).map((c) => [theirs(c.name), group(c.requests), group(c.tokens)]));
  return [
    el('dl', { class: 'tiles' }, ...tiles.map(([title, value]) => el('div', {}, el('dt', {}, title), el('dd', {}, value)))),
    el('div', { class: 'day-columns' },
      el('div', {}, el('h3', {}, 'By key'), keys, models ? el('h3', {}, 'By model') : null, models, by ? el('h3', {}, 'By caller') : null, by),
      el('div', {}, el('h3', {}, 'Summary'), el('pre', { class: 'summary', dir: 'auto' }, s.text), rotationsOf(s), downloads(s.date))),
  ];
}

function rotationsOf(s) {
  if (s.rotation_log.length === 0) return null;
  const lines = s.rotation_log.map((r) => el('li', {}, `${clock(r.at)} Key `, theirs(r.from), ' → Key ', theirs(r.to), ` (${r.reason})`));
  return el('ul', { class: 'log' }, ...lines);
}

/** The browser keeps the session's cookie, so links are all that an export needs. */
function downloads(day) {
  const query = `from=${day}&to=${day}&by=key&step=1h`;
  return el('p', { class: 'hint' }, 'Usage by the hour: ', el('a', { href: `/api/v1/usage.csv?${query}`, download: `keywheel-${day}.csv` }, 'CSV'), ', ',
    el('a', { href: `/api/v1/usage?${query}`, download: `keywheel-${day}.json` }, 'JSON'));
}
