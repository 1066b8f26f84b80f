// Requests. A request that needs a sign-in waits for it and is sent again with the same Idempotency-Key; so is one that was cut.
import { signal } from '../vendor/signals.js';
import { Turnpike, Problem } from '../client/turnpike.js';
import { uuid } from '../ui/text.js';

export { Problem };
/** @typedef {{ method?: string, body?: unknown, key?: string | false, signal?: AbortSignal, patient?: boolean }} Init */

/** The session has ended, and the user has not signed in again yet. */
export const signedOut = signal(false);
export const connection = signal(/** @type {{ state: import('../client/turnpike.js').State, retryAt: number }} */ ({ state: 'connecting', retryAt: 0 }));
export const client = new Turnpike({ onstate: (state, retryAt) => { connection.value = { state, retryAt }; } });

const signIn = () => new Promise((/** @type {(value: void) => void} */ resolve) => {
  signedOut.value = true;
  const stop = signedOut.subscribe((out) => { if (!out) { queueMicrotask(() => stop()); resolve(); } });
});
const pause = (/** @type {number} */ ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** @param {string} path @param {Init} [init] @returns {Promise<Response>} */
export async function send(path, { method, body, key, signal: abort, patient = true } = {}) {
  const verb = method ?? (body === undefined ? 'GET' : 'POST');
  const idempotencyKey = key === false || verb === 'GET' || verb === 'DELETE' ? undefined : key ?? uuid();
  for (let cuts = 0; ;) {
    try {
      return await client.fetch(path, { method: verb, ...(body === undefined ? {} : { body }), ...(idempotencyKey ? { idempotencyKey } : {}), ...(abort ? { signal: abort } : {}) });
    } catch (error) {
      if (error instanceof Problem && error.status === 401 && patient) { await signIn(); continue; }
      const cut = error instanceof TypeError && verb !== 'DELETE' && (verb !== 'POST' || idempotencyKey);
      if (!cut || !patient || cuts++ >= 40) throw error instanceof TypeError ? new Problem({ code: 'OFFLINE', detail: 'The server cannot be reached' }) : error;
      await pause(Math.min(3000, 200 * 2 ** cuts) * (0.5 + Math.random() / 2));
    }
  }
}

/** @param {string} path @param {Init} [init] @returns {Promise<any>} */
export async function json(path, init) {
  const response = await send(path, init);
  return response.status === 204 ? null : response.json();
}

/** A list, the address of its next page, and the gateways that did not answer for theirs. @param {string} path @param {AbortSignal} [signal] @param {boolean} [patient] @returns {Promise<{ items: any[], next: string | null, missing: string | null }>} */
export async function page(path, signal, patient = true) {
  const response = await send(path, { patient, ...(signal ? { signal } : {}) });
  const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1] ?? null;
  return { items: await response.json(), next, missing: response.headers.get('x-gateways-missing') };
}
