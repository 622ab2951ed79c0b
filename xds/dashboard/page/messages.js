// Notifications that failed or still wait, and the test message.

import { call, get } from './api.js';
import { byId, el, showError, theirs, throttle, time } from './dom.js';
import { count, dateTime } from './format.js';

const most = 50; // of each state

/** Asks for what failed and what waits; what was asked for less than two seconds ago is asked for a little later. */
export const loadMessages = throttle(2000, async () => {
  try {
    const [waiting, failed] = await Promise.all(['waiting', 'failed'].map((state) => get(`/api/v1/notifications?state=${state}&limit=${most}`)));
    show([...waiting, ...failed]);
    showError(byId('messages-error'), null);
  } catch (problem) {
    showError(byId('messages-error'), problem);
  }
});

/** Sets up what is there once. */
export function watchMessages() {
  byId('send-test').addEventListener('click', sendTest);
}

function show(messages) {
  byId('messages').replaceChildren(...messages.map((m) => el('li', { class: 'message' },
    el('p', {}, el('span', { class: 'state', 'data-state': m.state === 'failed' ? 'bad' : 'waiting' }, m.state === 'failed' ? 'Failed' : 'Waiting'),
      ' ', el('span', { dir: 'auto' }, m.title)),
    el('p', { class: 'hint' }, theirs(m.receiver), ' · ', time(m.at, dateTime(m.at)), ` · ${count(m.attempts, 'attempt')}`,
      m.next_at === null ? null : ` · next at ${dateTime(m.next_at)}`),
    m.error === null ? null : el('p', { class: 'hint warn', dir: 'auto' }, m.error))));
  byId('no-messages').hidden = messages.length > 0;
}

async function sendTest() {
  const button = byId('send-test');
  const result = byId('test-result');
  button.disabled = true;
  result.replaceChildren(el('p', { class: 'hint' }, 'Sending… this can take half a minute.'));
  try {
    const tried = await call('POST', '/api/v1/notifications/test');
    result.replaceChildren(tried.length === 0
      ? el('p', {}, 'No receiver is set up; only the log and this page tell of what happens.')
      : el('ul', { class: 'tried' }, ...tried.map((t) => el('li', {},
        t.ok ? '✅ ' : '❌ ', theirs(t.receiver), ...(t.error === null ? [] : [': ', theirs(t.error)])))));
  } catch (problem) {
    result.replaceChildren(el('p', { class: 'error' }, problem.message));
  }
  button.disabled = false;
  loadMessages();
}
