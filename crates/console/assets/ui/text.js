// Times, sizes and random ids as people read them.
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

/** @typedef {string | number | null | undefined} Time */
const date = (/** @type {Time} */ at) => new Date(at ?? 0);
export const clockTime = (/** @type {Time} */ at) => (at ? clock.format(date(at)) : '–');
export const exact = (/** @type {Time} */ at) => (at ? full.format(date(at)) : '');
/** The time of today, else the day. */
export const when = (/** @type {Time} */ at) => (!at ? 'never' : date(at).toDateString() === new Date().toDateString() ? clock.format(date(at)) : `${day.format(date(at))}, ${clock.format(date(at)).slice(0, 5)}`);
export const duration = (/** @type {number} */ ms) => (ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`);

/** Not on every page: a page over plain HTTP from another machine has no `randomUUID`. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (/** @type {number} */ (bytes[6]) & 15) | 64;
  bytes[8] = (/** @type {number} */ (bytes[8]) & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
