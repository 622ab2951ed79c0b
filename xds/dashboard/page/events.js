// The timeline: what happened, the newest first. The page has the newest events only; the API has them all.

import { get } from './api.js';
import { announce, byId, el, showError, time } from './dom.js';
import { clock, group } from './format.js';

const kept = 500; // events
const page = 1000; // that are asked for at once
const step = 30; // events that are shown at once

const events = new Map(); // by ID, oldest first
let most = step;

/** Asks for the newest events, or for those after the last that is known. */
export async function loadEvents() {
  try {
    for (let more = true; more;) {
      const last = [...events.keys()].at(-1);
      const found = await get(last ? `/api/v1/events?after=${last}&limit=${page}` : '/api/v1/events?limit=200');
      found.forEach(keep);
      more = found.length === page;
    }
    showError(byId('timeline-error'), null);
  } catch (problem) {
    showError(byId('timeline-error'), problem);
  }
  showEvents();
}

/** Takes an event that has just happened. */
export function addEvent(event) {
  if (events.has(event.id)) return;
  keep(event);
  if (matters(event)) announce(event.title);
  showEvents();
}

/** The rotations of a day, oldest first. */
export const rotationsOf = (window) => [...events.values()].filter((e) => e.kind === 'rotated' && e.at.startsWith(window));

/** Forgets all events. */
export function clearEvents() {
  events.clear();
  most = step;
  byId('events').replaceChildren();
}

/** Sets up what is there once. */
export function watchEvents() {
  byId('timeline-choice').addEventListener('change', () => { most = step; showEvents(); });
  byId('more-events').addEventListener('click', () => { most += 5 * step; showEvents(); });
}

function keep(event) {
  events.set(event.id, event);
  const ids = [...events.keys()];
  if (ids.length > 1 && BigInt(ids.at(-1)) < BigInt(ids.at(-2))) { // came by the stream before older ones were there
    const sorted = [...events].sort(([a], [b]) => (BigInt(a) < BigInt(b) ? -1 : 1));
    events.clear();
    for (const [id, e] of sorted) events.set(id, e);
  }
  if (events.size > kept) events.delete(events.keys().next().value);
}

/** Whether an event is an alert, a rotation, or the end of one of these. */
const matters = (event) => event.level !== 'info' || ['rotated', 'all_back', 'key_recovered'].includes(event.kind);

/** Shows the events that are chosen. */
export function showEvents() {
  const all = byId('timeline-choice').querySelector('input:checked').value === 'all';
  const chosen = [...events.values()].filter((event) => all || matters(event)).reverse();
  const wanted = [];
  let day = '';
  for (const event of chosen.slice(0, most)) {
    const its = new Date(event.at).toISOString().slice(0, 10);
    if (its !== day) wanted.push(heading(day = its));
    wanted.push(itemOf(event));
  }
  fill(byId('events'), wanted);
  byId('no-events').hidden = chosen.length > 0;
  byId('more-events').hidden = chosen.length <= most;
}

const items = new Map(); // made once, by event ID

function itemOf(event) {
  if (!items.has(event.id)) {
    const more = detailOf(event);
    items.set(event.id, el('li', { class: 'event', 'data-level': event.kind === 'rotated' ? 'rotated' : event.level },
      time(event.at, clock(event.at)), el('p', {}, el('span', { dir: 'auto' }, event.title), more ? el('span', { class: 'hint', dir: 'auto' }, more) : null)));
    if (items.size > 2 * kept) items.delete(items.keys().next().value);
  }
  return items.get(event.id);
}

const headings = new Map(); // by day

function heading(day) {
  if (!headings.has(day)) headings.set(day, el('li', { class: 'event-day' }, day));
  return headings.get(day);
}

/** Makes list hold exactly wanted, moving as little as there is to move. */
function fill(list, wanted) {
  const keepers = new Set(wanted);
  for (const child of [...list.children]) if (!keepers.has(child)) child.remove();
  wanted.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
}

/** What the title leaves out. */
function detailOf(event) {
  const facts = [];
  if (event.used !== null && event.limit !== null) facts.push(`${group(event.used)} / ${group(event.limit)} ${event.unit ?? 'tokens'}`);
  if (event.rate !== null) facts.push(`${group(event.rate)} tokens an hour`);
  for (const part of [event.reason, event.code, event.node, event.detail]) if (part) facts.push(part);
  if (event.until !== null) facts.push(`until ${clock(event.until, event.window)} UTC`);
  return facts.join(' · ');
}
