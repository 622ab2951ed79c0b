// One dialog that asks for a yes, or for a few values, and stays until what it asked for is done or given up.

import { byId, el, showError } from './dom.js';

/**
 * Opens the dialog. title and text are arrays of nodes and strings. fields: {name, label, type, value, hint, options,
 * required, min, max}, where type is that of an input, or "select", and max is in characters. submit gets the fields'
 * values by name and returns a promise: the dialog closes once it is fulfilled, and shows the error if it is not.
 */
export function ask({ title, text = [], fields = [], confirm, danger = false, submit }) {
  const dialog = byId('dialog');
  if (dialog.open) return;
  const error = el('p', { class: 'error', role: 'alert' });
  const yes = el('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, confirm);
  const no = el('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
  const form = el('form', { method: 'dialog', onsubmit: send }, el('h2', { id: 'dialog-title' }, ...title),
    text.length > 0 ? el('p', {}, ...text) : null, ...fields.map(fieldOf), error, el('div', { class: 'buttons' }, no, yes));

  async function send(event) {
    event.preventDefault();
    if (yes.disabled) return;
    yes.disabled = true;
    showError(error, null);
    try {
      await submit(Object.fromEntries(new FormData(form)));
      if (form.isConnected) dialog.close();
    } catch (problem) {
      showError(error, problem);
    }
    yes.disabled = false;
  }

  dialog.replaceChildren(form);
  dialog.onclose = () => { if (!dialog.open) dialog.replaceChildren(); }; // a secret that was typed in goes too; this may come when a new one is open
  dialog.showModal();
  (form.querySelector('input, select') ?? no).focus();
}

/** Closes the dialog, whatever it asks. */
export function closeDialog() {
  const dialog = byId('dialog');
  if (dialog.open) dialog.close();
}

function fieldOf({ name, label, type, value = '', hint, options = [], required = false, min, max }) {
  const id = `field-${name}`;
  const shared = { id, name, required, 'aria-describedby': hint ? `${id}-hint` : null };
  const input = type === 'select'
    ? el('select', shared, ...options.map((option) => el('option', { value: option, selected: option === value }, option)))
    : el('input', {
      ...shared, type, value, min, maxlength: max, step: type === 'number' ? 1 : null, autocomplete: 'off', spellcheck: 'false',
      dir: type === 'text' ? 'auto' : null,
    });
  return el('div', { class: 'field' }, el('label', { for: id }, label), input, hint ? el('p', { class: 'hint', id: `${id}-hint` }, hint) : null);
}
