// The signed-in user. All tabs of a browser share one session: when it ends in one, it ends in all.
import { signal } from '../vendor/signals.js';
import { client, json, Problem, send, signedOut } from './api.js';
import { go, path } from '../ui/place.js';
import { toast } from '../ui/toast.js';
import * as drafts from './drafts.js';
import * as link from './link.js';

/** @typedef {{ id: string, email: string, username: string, display_name: string, role: 'user' | 'operator' | 'engineer' | 'admin', created_at: string }} User */
export const me = signal(/** @type {User | null} */ (null));
/** The first question has been answered: signed in or not. */
export const known = signal(false);
const ROLES = ['user', 'operator', 'engineer', 'admin'];
export const may = (/** @type {string} */ role) => ROLES.indexOf(me.value?.role ?? '') >= ROLES.indexOf(role);

const tabs = new BroadcastChannel('turnpike');
tabs.onmessage = ({ data }) => {
  if (data === 'signed-out') left();
  if (data === 'signed-in') void check();
};

/** This page is being left: an answer that arrives late signs nobody in. */
let leaving = false;

/** A message in a room names this user: shows a notice, unless the room is on the screen. @param {import('../client/turnpike.js').Frame} frame */
function mentioned(frame) {
  const room = `rooms/${frame['room_id']}`;
  if (path.peek().join('/') === room && !document.hidden) return;
  const text = `${frame['content']}`;
  toast(`${frame['username']} mentions you: ${text.length > 120 ? `${text.slice(0, 120)}…` : text}`, { action: { name: 'Show', run: () => go(room) } });
}

function entered(/** @type {User} */ user) {
  if (leaving) return;
  // Another user: nothing of the former one may stay in memory or on the screen.
  if (me.peek() && me.peek()?.id !== user.id) { location.reload(); return; }
  me.value = user;
  known.value = true;
  drafts.of(user.id);
  signedOut.value = false;
  link.start(user.id, (frames) => { for (const frame of frames) if (frame.event === 'mention') mentioned(frame); });
}

function left() {
  const shown = me.peek();
  me.value = null; // nothing is shown from now on; then the page starts anew, with an empty memory
  client.close();
  if (!shown) return;
  leaving = true;
  location.assign('/console/');
}

/** Asks who is signed in: at the start, on focus, and when the connection was refused. */
export async function check() {
  try {
    entered(await json('/api/auth/me', { patient: false }));
  } catch (error) {
    if (error instanceof Problem && error.status === 401) signedOut.value = true;
    else if (!known.peek()) throw error;
  } finally { known.value = known.peek() || signedOut.peek(); }
}
addEventListener('focus', () => { if (me.peek() && !signedOut.peek()) void check(); });

/** The response has no token: the cookie is enough. @param {string} name @param {string} password */
export async function signIn(name, password) {
  const body = { [name.includes('@') ? 'email' : 'username']: name, password, tokens: false };
  entered((await json('/api/auth/login', { body, key: false, patient: false })).user);
  tabs.postMessage('signed-in');
}

/** With the code of a link that the process printed. */
export async function signInOnce(/** @type {string} */ code) {
  entered((await json('/api/auth/one-time', { body: { code, tokens: false }, key: false, patient: false })).user);
  tabs.postMessage('signed-in');
}

export async function signOut() {
  await send('/api/auth/logout', { method: 'POST', key: false, patient: false });
  drafts.wipe();
  tabs.postMessage('signed-out');
  left();
}
