// The list of keys: a row for each, made once and then kept up to date, so that focus and selection stay.

import { newMenu } from './actions.js';
import { showBar } from './bar.js';
import { byId, el, nameOf, setAttribute, setText, time } from './dom.js';
import { clock, group, keyName, statusText, usedPercent, wholePercent } from './format.js';

const rows = new Map(); // by key ID

/** Shows keys in their order; window is the day that they are counted in. */
export function showKeys(keys, window) {
  const shared = new Set(keys.map((key) => key.org).filter((org, i, all) => all.indexOf(org) !== i));
  const list = byId('keys');
  for (const [id, row] of rows) {
    if (keys.some((key) => key.id === id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  keys.forEach((key, i) => {
    let row = rows.get(key.id);
    if (!row) rows.set(key.id, row = newRow());
    row.show(key, window, shared.has(key.org));
    if (list.children[i] !== row.node) list.insertBefore(row.node, list.children[i] ?? null);
  });
}

function newRow() {
  const name = el('h2', { class: 'key-name' });
  const about = el('p', { class: 'key-about' });
  const bar = el('div', { class: 'bar', role: 'meter', 'aria-valuemin': 0, 'aria-valuemax': 100 });
  const percent = el('span', { class: 'percent' });
  const status = el('p', { class: 'key-status' });
  const words = el('span');
  const until = el('span', { class: 'until' });
  status.append(words, until);
  const figures = newFigures();
  const menu = newMenu();
  menu.button.hidden = document.body.dataset.access !== 'admin';
  const node = el('li', { class: 'key' },
    el('div', { class: 'key-who' }, name, about), el('div', { class: 'key-use' }, bar, percent), status, figures.node, menu.button, menu.node);

  function show(key, window, sharesOrg) {
    const called = keyName(key);
    const used = usedPercent(key);
    const [mark, word] = statusText(key);
    setAttribute(node, 'data-status', key.status);
    setAttribute(node, 'data-active', key.active);
    if (name.textContent !== called) name.replaceChildren(...nameOf(key));
    setText(about, aboutKey(key, sharesOrg));
    bar.hidden = used === null;
    if (used === null) setText(percent, 'no limit');
    else {
      showBar(bar, used, key.status);
      setAttribute(bar, 'aria-label', `${called}: ${wholePercent(used)}% ${word}`);
      setText(percent, `${wholePercent(used)}%`);
    }
    setText(words, `${mark} ${word}`);
    const resting = key.status === 'cooling' && key.cooling_until !== null;
    setText(until, resting ? ` until ${clock(key.cooling_until, window)} UTC` : '');
    figures.show(key, window);
    menu.show(key);
  }
  return { node, show };
}

/** What there is to know of a key beside its figures. */
function aboutKey(key, sharesOrg) {
  const facts = [`priority ${key.priority}`, key.tier];
  if (sharesOrg) facts.push(`shares the limits of ${key.org}`);
  if (key.models?.length > 0) facts.push(`only ${key.models.join(', ')}`);
  if (key.estimated_tokens > 0) facts.push(`${group(key.estimated_tokens)} tokens estimated`);
  if (key.cost_usd !== null) facts.push(`$${key.cost_usd.toFixed(2)} today`);
  return facts.join(' · ');
}

function newFigures() {
  const node = el('dl', { class: 'figures' });
  const figure = (title) => {
    const dd = el('dd');
    node.append(el('div', {}, el('dt', {}, title), dd));
    return dd;
  };
  const of = (used, limit) => (limit === null ? group(used) : `${group(used)} / ${group(limit)}`);
  const [tokens, remaining, requests, health, score, end] = ['Tokens', 'Remaining', 'Requests', 'Health', 'Score', 'Runs out'].map(figure);
  return {
    node,
    show(key, window) {
      setText(tokens, of(key.used_tokens, key.limit_tokens));
      setText(remaining, key.remaining_tokens === null ? '–' : group(key.remaining_tokens));
      setText(requests, of(key.requests, key.limit_requests));
      setText(health, `${key.health}%`);
      setText(score, String(key.score));
      const at = key.forecast_exhausted_at;
      const text = at === null ? '–' : clock(at, window);
      if (end.textContent !== text) end.replaceChildren(at === null ? text : time(at, text));
    },
  };
}
