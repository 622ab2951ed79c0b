// The scenario's view: how well all keys do together, when they begin anew, and the pool's figures.

import { showBar } from './bar.js';
import { byId, el, setText } from './dom.js';
import { clock, countdown, duration, group, headline, percentOf } from './format.js';
import { showKeys } from './keys.js';

/** Shows a state. */
export function showAccount({ pool, keys }) {
  setText(byId('title'), headline({ pool, keys }));
  // Keywheel's own time, as of this state: its clock may be virtual, stand still or run fast, and this device's may be
  // wrong. A state comes at least every 15 s, so between two of them nothing is counted on: the figure has minutes.
  setText(byId('resets'), `Resets in: ${countdown(Date.parse(pool.resets_at) - Date.parse(pool.now))}`);
  showKeys(keys, pool.window);
  byId('no-keys').hidden = keys.length > 0;
  showPool(pool);
  showTiles(pool);
}

function showPool(pool) {
  const limited = pool.limit !== null;
  setText(byId('pool'), limited
    ? `Pool: ${group(pool.used)} / ${group(pool.limit)} tokens (${percentOf(pool.used, pool.limit).toFixed(1)}%)`
    : `Pool: ${group(pool.used)} tokens (no limit)`);
  const bar = byId('pool-bar');
  bar.hidden = !limited;
  if (limited) showBar(bar, pool.percent, 'pool');
}

const tiles = new Map(); // figure by title

function showTiles(pool) {
  const all = [
    ['Requests', group(pool.requests)],
    ['Succeeded', group(pool.succeeded)],
    ['Refused', group(pool.refused)],
    ['Rotations', group(pool.rotations)],
    ['Rescues', group(pool.rescues)],
    ['Downtime', duration(pool.downtime_seconds)],
    ['Remaining', pool.remaining === null ? 'no limit' : group(pool.remaining)],
    ['Pool runs out', pool.forecast === null ? '–' : `${clock(pool.forecast, pool.window)} UTC`],
  ];
  for (const [title, text] of all) {
    if (!tiles.has(title)) {
      tiles.set(title, el('dd'));
      byId('tiles').append(el('div', {}, el('dt', {}, title), tiles.get(title)));
    }
    setText(tiles.get(title), text);
  }
}
