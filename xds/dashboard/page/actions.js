// What a person can do to keys. Each action is confirmed in a dialog, and what came of it is said in a notice.

import { call } from './api.js';
import { ask } from './dialog.js';
import { el, nameOf, setAttribute } from './dom.js';
import { keyName } from './format.js';
import { notice } from './notice.js';

/**
 * Makes the menu of a key's actions and the button that opens it; the browser places and closes it. show takes the key as
 * it is now.
 */
export function newMenu() {
  let key = null;
  const item = (title, action, tone = '') => {
    const chosen = () => {
      node.hidePopover();
      action(key);
    };
    return el('button', { type: 'button', class: `quiet ${tone}`, onclick: chosen }, title);
  };
  const turnOff = item('Disable', disable);
  const turnOn = item('Enable', enable);
  const node = el('div', { class: 'menu', popover: true, role: 'group' },
    turnOff, turnOn, item('Change…', change), item('Replace secret…', replace), item('Clear findings', clear), item('Remove…', remove, 'bad'));
  const button = el('button', { type: 'button', class: 'quiet more', 'data-admin': true }, '⋯');
  button.popoverTargetElement = node;
  node.addEventListener('toggle', (event) => {
    if (event.newState === 'open') node.querySelector('button:not([hidden])').focus();
  });
  return {
    button,
    node,
    show(current) {
      key = current;
      turnOff.hidden = key.disabled;
      turnOn.hidden = !key.disabled;
      setAttribute(node, 'aria-label', keyName(key));
      setAttribute(button, 'aria-label', `Actions for ${keyName(key)}`);
    },
  };
}

const path = (key) => `/api/v1/keys/${encodeURIComponent(key.id)}`;

/** Asks, does, and says what was done. */
function act(key, { done, method, to = path(key), body, ...dialog }) {
  ask({
    ...dialog,
    async submit(values) {
      const answer = await call(method, to, body?.(values));
      notice(`${keyName(key)} ${done}.`, answer?.generation);
    },
  });
}

function disable(key) {
  act(key, {
    title: ['Disable ', ...nameOf(key), '?'], confirm: 'Disable', danger: true, done: 'is disabled', method: 'PATCH', body: () => ({ disabled: true }),
    text: ['It takes no more requests until you enable it. Those in flight end as they would.'],
  });
}

function enable(key) {
  act(key, {
    title: ['Enable ', ...nameOf(key), '?'], confirm: 'Enable', done: 'is enabled', method: 'PATCH', body: () => ({ disabled: false }),
    text: ['It takes requests again, in its place in the order.'],
  });
}

function clear(key) {
  act(key, {
    title: ['Clear ', ...nameOf(key), '?'], confirm: 'Clear', done: 'is cleared', method: 'POST', to: `${path(key)}/clear`,
    text: ['What Groq’s answers taught about its organization (cooling, invalid, restricted) is forgotten, so that its keys are tried again. ',
      'What they spent stays counted.'],
  });
}

function remove(key) {
  act(key, {
    title: ['Remove ', ...nameOf(key), '?'], confirm: 'Remove', danger: true, done: 'is removed', method: 'DELETE',
    text: ['Its secret is forgotten. What it spent stays in the history, and requests in flight are still charged to it.'],
  });
}

function replace(key) {
  act(key, {
    title: ['Replace the secret of ', ...nameOf(key)], confirm: 'Replace', done: 'has a new secret', method: 'PATCH',
    text: ['The new secret starts as a new credential. No page and no answer ever shows it again.'],
    fields: [secretField('New secret')], body: ({ secret }) => ({ secret: secret.trim() }),
  });
}

const secretField = (label) => ({ name: 'secret', label, type: 'password', required: true, hint: 'A Groq API key: gsk_…' });

const tiers = ['free', 'paid'];

function fieldsOf(key) {
  return [
    { name: 'label', label: 'Label', type: 'text', max: 40, value: key?.label, hint: 'Empty: named by its place.' },
    { name: 'priority', label: 'Priority', type: 'number', min: 1, value: key?.priority, hint: 'The lower goes first.' },
    { name: 'limit_tokens', label: 'Daily limit in tokens', type: 'number', min: 1, value: key?.limit_tokens ?? '', hint: 'Empty: no limit.' },
    { name: 'limit_requests', label: 'Daily limit in requests', type: 'number', min: 1, value: key?.limit_requests ?? '', hint: 'Empty: no limit.' },
    { name: 'tier', label: 'Tier', type: 'select', options: tiers, value: key?.tier },
  ];
}

/** A form's values as the API writes them: null is no limit. */
function valuesOf({ label, priority, limit_tokens: tokens, limit_requests: requests, tier }) {
  const number = (text) => (text === '' ? null : Number(text));
  return { label: label.trim(), priority: number(priority), limit_tokens: number(tokens), limit_requests: number(requests), tier };
}

/** Where a key is set up, if that is elsewhere: what is changed here holds over it. */
function origin(key) {
  const places = { environment: 'the environment', file: 'a file' };
  if (!places[key.source]) return [];
  const changed = key.changed.length > 0 ? ` So far: ${key.changed.join(', ')}.` : '';
  return [`This key is set up in ${places[key.source]}. What you change here holds over that.${changed}`];
}

function change(key) {
  ask({
    title: ['Change ', ...nameOf(key)], confirm: 'Save', text: origin(key),
    fields: fieldsOf(key).map((f) => (f.name === 'priority' ? { ...f, required: true } : f)),
    async submit(values) {
      const changed = Object.entries(valuesOf(values)).filter(([name, value]) => value !== key[name]);
      if (changed.length === 0) return;
      const answer = await call('PATCH', path(key), Object.fromEntries(changed));
      notice(`${keyName(key)} is changed.`, answer?.generation);
    },
  });
}

/** Asks for a new key. */
export function add() {
  ask({
    title: ['Add a key'], confirm: 'Add',
    fields: [secretField('Secret'), { name: 'id', label: 'ID', type: 'text', hint: 'Empty: the lowest free number.' }, ...fieldsOf(null)],
    async submit({ secret, id, ...values }) {
      const given = Object.entries({ id: id.trim(), ...valuesOf(values) }).filter(([, value]) => value !== '' && value !== null);
      const answer = await call('POST', '/api/v1/keys', { secret: secret.trim(), ...Object.fromEntries(given) });
      notice(`Key ${answer.id} is added.`, answer.generation);
    },
  });
}
