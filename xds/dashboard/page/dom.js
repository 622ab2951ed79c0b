// Small helpers around the document. Text goes in as text nodes and attributes only: nothing here reads markup.

export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. Attributes that are null, undefined or false are left out; those that begin with "on" are listeners.
 * Children are nodes or strings; null and undefined are left out.
 */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else setAttribute(node, key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets an attribute only where it changes, so that assistive software hears of changes alone. Null and false remove it. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else {
    const text = value === true ? '' : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** Sets a node's text only where it changes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Text that people wrote: isolated, so that its direction does not turn its neighbours round. */
export const theirs = (text) => el('bdi', {}, text);

/** A key's name as nodes, what people wrote in it isolated: "Key 1 (Primary)". */
export function nameOf(key) {
  return key.label ? ['Key ', theirs(key.id), ' (', theirs(key.label), ')'] : ['Key ', theirs(key.id)];
}

/** A time, with the browser's local time as a tooltip. */
export const time = (iso, text) => el('time', { datetime: iso, title: `${new Date(iso).toLocaleString()} by this device's clock` }, text);

/**
 * A table that becomes a list of cards where it is narrow. The roles are written out because the style takes the
 * table's display away there, and with it what browsers tell assistive software.
 * columns: {title, number?}; rows: arrays of nodes or strings, as many as there are columns.
 */
export function table(caption, columns, rows) {
  const head = columns.map((c) => el('th', { role: 'columnheader', scope: 'col', class: c.number ? 'number' : null }, c.title));
  const cells = (row) => row.map((cell, i) => el('td', {
    role: 'cell', class: columns[i].number ? 'number' : null, 'data-title': columns[i].title,
  }, cell));
  return el('table', { role: 'table' },
    el('caption', { class: 'unseen' }, caption),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...head)),
    el('tbody', { role: 'rowgroup' }, ...rows.map((row) => el('tr', { role: 'row' }, ...cells(row)))));
}

/** Tells assistive software something once, when it has nothing else to say. */
export function announce(text) {
  byId('announcer').textContent = text;
}

/** Shows an error near what was done; none takes it away. */
export function showError(node, error) {
  setText(node, error ? error.message : '');
}

/**
 * Returns a function that calls run at most once in ms: at once, or when ms since the last call are over.
 */
export function throttle(ms, run) {
  let last = -Infinity;
  let timer = 0;
  return () => {
    if (timer) return;
    timer = setTimeout(() => { timer = 0; last = performance.now(); run(); }, Math.max(0, last + ms - performance.now()));
  };
}
