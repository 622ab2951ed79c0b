// How figures are written: the words, marks and roundings that the terminal's picture has too (xds/cli/picture.go).

const statusWords = {
  disabled: ['🚫', 'Disabled'],
  invalid: ['⛔', 'Invalid'],
  exhausted: ['🔴', 'Exhausted'],
  cooling: ['🧊', 'Cooling'],
  critical: ['🟠', 'Critical'],
  warning: ['🟡', 'Warning'],
  active: ['✅', 'Active'],
  standby: ['⏸', 'Standby'],
};

/** Commas between thousands: 14,400. */
export const group = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

/** "1 key", "2 keys", "0 keys". */
export const count = (n, noun) => `${group(n)} ${noun}${n === 1 ? '' : 's'}`;

/** used of limit in percent, one decimal, half up. */
export const percentOf = (used, limit) => Math.floor((used * 1000) / limit + 0.5) / 10;

/** How much of its limit a key has used, of tokens or else of requests; null without a limit. */
export function usedPercent(key) {
  if (key.percent !== null) return key.percent;
  return key.limit_requests === null ? null : percentOf(key.requests, key.limit_requests);
}

/** Percent as a whole number; 100 only when it is reached. */
export function wholePercent(percent) {
  const whole = Math.floor(Math.max(percent, 0) + 0.5);
  return percent < 100 ? Math.min(whole, 99) : whole;
}

/** A bar of ten cells; all of them only at 100 %. */
export function cells(percent) {
  const full = percent >= 100 ? 10 : Math.min(Math.max(Math.floor(percent / 10 + 0.5), 0), 9);
  return '█'.repeat(full) + '░'.repeat(10 - full);
}

/** Whether a key with this status can take requests. */
export const serves = (status) => !['disabled', 'invalid', 'exhausted', 'cooling'].includes(status);

/** Green while all is well, yellow below 80 % health, red below 50 % or with no key that serves. */
export function light(pool, keys) {
  if (!keys.some((key) => serves(key.status)) || pool.health < 50) return '🔴';
  return pool.health < 80 ? '🟡' : '🟢';
}

/** The first line of the picture: "🟢 Groq (3 keys) - Health: 95%". */
export const headline = ({ pool, keys }) => `${light(pool, keys)} Groq (${count(keys.length, 'key')}) - Health: ${Math.floor(pool.health + 0.5)}%`;

/** A status's mark and its words: ['🟠', 'Critical (in use)']. */
export function statusText(key) {
  const [mark, word] = statusWords[key.status] ?? ['', key.status];
  return [mark, key.active && key.status !== 'active' ? `${word} (in use)` : word];
}

/** What a key is called: "Key 1 (Primary)". */
export const keyName = (key) => (key.label ? `Key ${key.id} (${key.label})` : `Key ${key.id}`);

/** A time to come, from milliseconds: "10h 00m". */
export function countdown(ms) {
  const minutes = Math.floor(Math.max(ms, 0) / 60000);
  return `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, '0')}m`;
}

/** "14:05" of an ISO time in UTC; of a time in another day than window, "2025-11-19 14:05". */
export function clock(iso, window) {
  const at = new Date(iso).toISOString();
  return window && !at.startsWith(window) ? `${at.slice(0, 10)} ${at.slice(11, 16)}` : at.slice(11, 16);
}

/** "2025-11-18 14:05:00 UTC". */
export function dateTime(iso) {
  const at = new Date(iso).toISOString();
  return `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

/** A length of time from seconds, in its two largest units: "0s", "1m 30s", "2h 05m", "3d 04h". */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, '0');
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86400)}d ${two(Math.floor((s % 86400) / 3600))}h`;
}

/** How long ago iso was at now: "2s ago", "just now". */
export function ago(iso, now) {
  const seconds = Math.round((Date.parse(now) - Date.parse(iso)) / 1000);
  return seconds < 1 ? 'just now' : `${duration(seconds)} ago`;
}

/** A figure for an axis: 900, 1.5k, 20k, 3M. */
export function short(n) {
  const [divisor, unit] = n >= 1e9 ? [1e9, 'G'] : n >= 1e6 ? [1e6, 'M'] : n >= 1e3 ? [1e3, 'k'] : [1, ''];
  return `${Math.round((n / divisor) * 100) / 100}${unit}`;
}

/** "2025-11-18" moved by days. */
export function moveDay(day, days) {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * 86400000).toISOString().slice(0, 10);
}
