// Usage today: each key's tokens over the day, and how much comes in a minute.

import { get } from './api.js';
import { byId, el, nameOf, setAttribute, setText, showError, table, throttle } from './dom.js';
import { rotationsOf } from './events.js';
import { clock, group, keyName } from './format.js';

const bucket = 300; // seconds of a point
const drawn = 8; // keys in the chart at most: there are no more colours to tell apart

let state = null;
let series = null; // points by key ID, of the state's day; null: not asked for yet
let of = ''; // day and bucket that were asked for last
let counted = -1; // requests that were counted then
let charts = null; // the module, once it is there

/** Takes a state; asks for new points when a new day or bucket has begun, and now and then while there is traffic. */
export function updateUsage(current) {
  const day = current.pool.window;
  if (state && state.pool.window !== day) series = null;
  state = current;
  const at = `${day} ${Math.floor(Date.parse(current.pool.now) / 1000 / bucket)}`;
  if (at !== of) {
    of = at;
    loadUsage();
  } else if (counted !== current.pool.requests) loadSeldom();
  draw();
}

/** Asks for the day's points. */
export const loadUsage = throttle(2000, load);

const loadSeldom = throttle(30000, load);

async function load() {
  if (!state) return;
  const day = state.pool.window;
  try {
    counted = state.pool.requests;
    const answer = await get(`/api/v1/usage?from=${day}&to=${day}&by=key&step=5m`);
    charts ??= await import('./charts.js');
    if (state?.pool.window !== day) return;
    series = new Map(answer.series.map((s) => [s.name, s.points]));
    showError(byId('usage-error'), null);
    draw();
    showFigures();
  } catch (problem) {
    showError(byId('usage-error'), problem);
  }
}

/** Forgets everything. */
export function clearUsage() {
  state = series = null;
  of = '';
}

/** Draws what is known, at once where the style has changed. */
export function draw() {
  if (!charts || !series || !state || document.hidden) return;
  const day = state.pool.window;
  const start = Date.parse(`${day}T00:00:00Z`) / 1000;
  const now = Date.parse(state.pool.now) / 1000;
  const used = (key) => key.used_tokens > 0;
  const keys = (state.keys.length > 3 ? state.keys.filter(used) : state.keys).toSorted((a, b) => b.used_tokens - a.used_tokens).slice(0, drawn)
    .sort((a, b) => a.rank - b.rank);
  const lines = keys.map((key) => lineOf(key, start, now));
  charts.drawUsage(byId('usage-chart'), { start, now, lines, rotations: rotationsOf(day), point: showPoint });
  showLegend(lines, state.keys.length);
  const rates = ratesOf(start, now);
  charts.drawRate(byId('requests-chart'), { start, at: rates.at, values: rates.requests, colour: '--c1' });
  charts.drawRate(byId('tokens-chart'), { start, at: rates.at, values: rates.tokens, colour: '--c2' });
}

/** A key's cumulative use: a point at the end of each bucket, and one for now, which the state itself tells. */
function lineOf(key, start, now) {
  const at = [start];
  const total = [0];
  let sum = 0;
  for (const point of series.get(key.id) ?? []) {
    const end = Date.parse(point.at) / 1000 + bucket;
    if (end > now || point.tokens === 0) continue;
    if (at.at(-1) < end - bucket) { // nothing was spent since the last point
      at.push(end - bucket);
      total.push(sum);
    }
    at.push(end);
    total.push(sum += point.tokens);
  }
  const begun = now - ((now - start) % bucket); // what has no point yet was spent since then
  if (begun > at.at(-1)) {
    at.push(begun);
    total.push(sum);
  }
  if (now > at.at(-1)) {
    at.push(now);
    total.push(sum);
  }
  total[total.length - 1] = Math.max(sum, key.used_tokens);
  const forecast = key.forecast_exhausted_at === null ? null : Date.parse(key.forecast_exhausted_at) / 1000;
  return { key, name: keyName(key), at, total, used: key.used_tokens, limit: key.limit_tokens, forecast };
}

/** Requests and tokens a minute, of all keys together; the newest bucket is not over. */
function ratesOf(start, now) {
  const sums = new Map();
  for (const points of series.values()) {
    for (const { at, tokens, requests } of points) {
      const from = Date.parse(at) / 1000;
      const sum = sums.get(from) ?? { tokens: 0, requests: 0 };
      sums.set(from, { tokens: sum.tokens + tokens, requests: sum.requests + requests });
    }
  }
  const rates = { at: [], requests: [], tokens: [] };
  for (let from = start; from <= now; from += bucket) {
    const minutes = Math.max(1, Math.min(bucket, now - from) / 60);
    const sum = sums.get(from) ?? { tokens: 0, requests: 0 };
    rates.at.push(from + bucket / 2);
    rates.requests.push(sum.requests / minutes);
    rates.tokens.push(sum.tokens / minutes);
  }
  return rates;
}

const entries = new Map(); // of the legend, by key ID

function showLegend(lines, all) {
  const list = byId('usage-legend');
  const wanted = lines.map((line, i) => {
    let entry = entries.get(line.key.id);
    if (!entry) {
      const value = el('span', { class: 'value' });
      const name = el('span');
      const swatch = el('span', { class: 'swatch' });
      entries.set(line.key.id, entry = { node: el('li', {}, swatch, name, ' ', value), name, value, swatch });
    }
    if (entry.name.textContent !== line.name) entry.name.replaceChildren(...nameOf(line.key));
    entry.swatch.style.setProperty('--colour', `var(--c${i + 1})`);
    setText(entry.value, group(line.used));
    return entry.node;
  });
  if (wanted.length < all) wanted.push(rest(all - wanted.length));
  if (wanted.length !== list.children.length || wanted.some((node, i) => node !== list.children[i])) list.replaceChildren(...wanted);
  const limits = (line) => (line.limit === null ? 'no limit' : `of ${group(line.limit)}`);
  setAttribute(byId('usage-chart'), 'aria-label', `Tokens used today by each key: ${lines.map((l) => `${l.name} ${group(l.used)} ${limits(l)}`).join(', ')}`);
}

const restNode = el('li', { class: 'hint' });

function rest(n) {
  setText(restNode, `${n} more with less or no use`);
  return restNode;
}

/** Shows in the legend what the keys had used at a time in the chart; null: now. */
function showPoint(at, totals) {
  setText(byId('usage-at'), at === null ? '' : `at ${clock(at * 1000)} UTC`);
  if (totals) for (const [id, total] of totals) setText(entries.get(id).value, group(total));
}

/** The chart's figures as a table, for those who do not see it. */
function showFigures() {
  const day = state.pool.window;
  const rows = [];
  const sums = new Map(state.keys.map((key) => [key.id, 0]));
  const shown = state.keys.filter((key) => key.used_tokens > 0).slice(0, drawn);
  for (let hour = 0; hour < 24; hour++) {
    const from = Date.parse(`${day}T00:00:00Z`) + hour * 3600000;
    if (from > Date.parse(state.pool.now)) break;
    for (const key of shown) {
      for (const point of series.get(key.id) ?? []) {
        const at = Date.parse(point.at);
        if (at >= from && at < from + 3600000) sums.set(key.id, sums.get(key.id) + point.tokens);
      }
    }
    rows.push([`${String(hour + 1).padStart(2, '0')}:00`, ...shown.map((key) => group(sums.get(key.id)))]);
  }
  byId('usage-figures').hidden = shown.length === 0;
  byId('usage-table').replaceChildren(table('Tokens used since 00:00 UTC, by the end of each hour',
    [{ title: 'By' }, ...shown.map((key) => ({ title: keyName(key), number: true }))], rows));
}
