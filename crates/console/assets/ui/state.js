// States as a word, a shape and a colour, so that none of the three is needed alone.
import { signal } from '../vendor/signals.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { tags } from './tags.js';
import { clockTime } from './text.js';
import { client, connection } from '../live/api.js';

const { span, div, button } = tags;
/** @type {Record<string, [string, string]>} */
const LOOKS = {
  pending: ['wait hollow', 'Pending'], in_progress: ['wait', 'In progress'], completed: ['live', 'Completed'], failed: ['bad square', 'Failed'],
  cancelled: ['plain square', 'Cancelled'], timed_out: ['bad square', 'Timed out'], unknown: ['unsure', 'Unknown'],
  connected: ['live', 'Connected'], disconnected: ['plain hollow', 'Disconnected'], error: ['bad square', 'Error'],
  serving: ['live', 'Serving'], not_serving: ['bad square', 'Not serving'], unavailable: ['bad square', 'Unavailable'], degraded: ['wait', 'Degraded'],
  running: ['live', 'Running'], paused: ['wait hollow', 'Paused'], starting: ['wait hollow', 'Waiting for sound'], draining: ['wait', 'Finishing'], stopped: ['plain square', 'Stopped'],
  active: ['live', 'Active'], inactive: ['plain square', 'Inactive'],
  read: ['live', 'Reads'], idempotent: ['wait', 'Changes'], unsafe: ['bad square', 'Unsafe'],
};
/** The pill of a state. @param {string} state @param {string} [word] */
export const pill = (state, word) => {
  const [look, name] = LOOKS[state] ?? ['unsure', state.replaceAll('_', ' ')];
  return span({ class: `state ${look}`, 'data-state': state }, word ?? name);
};
export const ENDED = new Set(['completed', 'failed', 'cancelled', 'timed_out', 'unknown']);

/** Whether what is shown may be behind the server. */
export const isBehind = () => !['live', 'catching_up'].includes(connection.value.state);
/** "as of 12:04:31", while what is shown may be behind. */
export const AsOf = () => (isBehind() && client.heard ? span({ class: 'muted as-of' }, `as of ${clockTime(client.heard)}`) : null);

const now = signal(Date.now());
/** The state of the connection. */
export function Connection() {
  const { state, retryAt } = connection.value;
  const waits = state === 'waiting' || state === 'stopping' || state === 'too_many';
  useEffect(() => {
    if (!waits) return undefined;
    now.value = Date.now();
    const timer = setInterval(() => { now.value = Date.now(); }, 500);
    return () => clearInterval(timer);
  }, [waits]);
  const seconds = Math.max(0, Math.ceil((retryAt - now.value) / 1000));
  /** @type {Record<string, [string, string]>} */ const words = {
    connecting: ['wait hollow', 'Connecting'], catching_up: ['wait', 'Catching up'], live: ['live', 'Live'], waiting: ['wait hollow', `Reconnecting in ${seconds} s`],
    offline: ['bad square', 'Offline'], stopping: ['wait square', 'Server stopping'], too_many: ['bad square', 'Too many tabs'], signed_out: ['bad square', 'Signed out'],
    paused: ['plain hollow', 'Paused'], closed: ['plain hollow', 'Not connected'],
  };
  const [look, word] = words[state] ?? ['unsure', state];
  return div({ class: 'connection' },
    span({ class: `state ${look}`, 'data-state': state }, word),
    // Announced without the seconds, which would be read every half second.
    span({ class: 'hidden', role: 'status' }, word.replace(/ in \d+ s/, '')),
    waits || state === 'offline' ? button({ type: 'button', class: 'small', onClick: () => client.retryNow() }, 'Retry now') : null);
}
