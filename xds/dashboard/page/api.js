// Asks the admin API. The session's cookie goes along by itself; a header that no other site can set says that this
// page asks, and not a form somewhere.

/** An answer that is not a success: what to do about it is in message, in the API's own words where it has some. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Listens for signed-out: an answer said that the session is over. */
export const session = new EventTarget();

const fallback = 'Keywheel gave no answer that this page understands.';

async function problemOf(answer) {
  let words = `${fallback} (${answer.status})`;
  try {
    const body = await answer.json();
    const places = (body.errors ?? []).map((e) => `${e.location}: ${e.message}`);
    if (body.detail) words = [body.detail, ...places].join('\n');
  } catch { /* no JSON: the fallback has to do */ }
  return new Problem(answer.status, words);
}

/**
 * Calls the API and returns the answer's JSON, or null if it has none. Throws a Problem. A 401 is told to session's
 * listeners too, but not where expect401 is set.
 */
export async function call(method, path, body, { expect401 = false } = {}) {
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-Keywheel-Page'] = '1';
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: 'same-origin', cache: 'no-store', redirect: 'error',
    });
  } catch {
    throw new Problem(0, 'Keywheel cannot be reached.');
  }
  if (answer.status === 401 && !expect401) session.dispatchEvent(new Event('signed-out'));
  if (!answer.ok) throw await problemOf(answer);
  if (answer.status === 204) return null;
  try {
    return await answer.json();
  } catch {
    throw new Problem(answer.status, fallback);
  }
}

export const get = (path) => call('GET', path);

/** What the session admits to, "admin" or "read"; null without one. Throws a Problem if that cannot be learned. */
export async function access() {
  try {
    return (await call('GET', '/api/v1/session', undefined, { expect401: true })).access;
  } catch (problem) {
    if (problem.status === 401) return null;
    throw problem;
  }
}

export const signIn = (token) => call('POST', '/api/v1/session', { token }, { expect401: true });
export const signOut = () => call('DELETE', '/api/v1/session', undefined, { expect401: true });
