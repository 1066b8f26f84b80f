// The one socket of this tab, for components. Events are handed over once per picture; a hidden tab has no pictures, so it gets a timer.
import { signal, batch } from '../vendor/signals.js';
import { useEffect, useRef } from '../vendor/preact-hooks.js';
import { client, connection, signedOut } from './api.js';

/** @typedef {import('../client/turnpike.js').Frame} Frame */
/** Cuts of the connection, for timelines. `fetched`: events that arrived afterwards until everything had arrived. */
export const cuts = signal(/** @type {{ from: number, until: number }[]} */ ([]));
/** This page is not of the version that the server has. */
export const outdated = signal(false);
const HIDDEN = 5 * 60_000;

/** @type {{ take: (frames: Frame[]) => void, frames: Frame[] }[]} */ let due = [];
let planned = false;

function flush() {
  planned = false;
  const now = due;
  due = [];
  batch(() => { for (const one of now) { const frames = one.frames; one.frames = []; one.take(frames); } });
}

/** Follows a topic; `take` gets the frames that arrived since the last picture. @param {string} topic @param {(frames: Frame[]) => void} take @param {string} [since] */
export function follow(topic, take, since = 'start') {
  const one = { take, frames: /** @type {Frame[]} */ ([]) };
  const subscription = client.follow(topic, (frame) => {
    one.frames.push(frame);
    if (one.frames.length === 1) due.push(one);
    if (planned) return;
    planned = true;
    if (document.hidden) setTimeout(flush, 200); else requestAnimationFrame(flush);
  }, { since });
  return () => { subscription.stop(); one.take = () => {}; };
}

/** The same for a component; `topic` null follows nothing. @param {string | null} topic @param {(frames: Frame[]) => void} take @param {string} [since] */
export function useTopic(topic, take, since = 'start') {
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => (topic ? follow(topic, (frames) => latest.current(frames), since) : undefined), [topic, since]);
}

/**
 * Follows a topic from now on and keeps with it what `read` loads over HTTP. The state is read again once the subscription is confirmed,
 * and after a reset; events that arrive during a reading are handed over after its result, so no change is lost or undone between the two.
 * @param {string} topic @param {() => Promise<() => void>} read Returns what puts the result into place. It handles its own errors.
 * @param {(frames: Frame[]) => void} take
 */
export function followState(topic, read, take) {
  let turn = 0, confirmed = false, stopped = false;
  /** @type {Frame[] | null} */ let held = null;
  const load = async () => {
    const mine = ++turn;
    held ??= [];
    const apply = await read();
    if (stopped || mine !== turn) return;
    const frames = held;
    held = null;
    batch(() => { apply(); if (!stopped && frames.length) take(frames); });
  };
  const stop = follow(topic, (frames) => {
    const stale = frames.some(({ event }) => event === 'reset' || (event === 'caught_up' && !confirmed));
    if (frames.some(({ event }) => event === 'caught_up')) confirmed = true;
    if (held) held.push(...frames); else take(frames);
    if (stale && !stopped) void load();
  }, 'live');
  if (client.state !== 'live' && client.state !== 'catching_up') void load();
  return { stop: () => { stopped = true; stop(); }, reload: () => { void load(); } };
}

/** The same for a component. @param {string | null} topic @param {() => Promise<() => void>} read @param {(frames: Frame[]) => void} take */
export function useTopicState(topic, read, take) {
  const latest = useRef({ read, take });
  latest.current = { read, take };
  useEffect(() => (topic ? followState(topic, () => latest.current.read(), (frames) => latest.current.take(frames)).stop : undefined), [topic]);
}

let user = '';
/** The user's own topic keeps the socket open, and its end is the end of the session. */
/** @param {string} id @param {(frames: Frame[]) => void} take */
export function start(id, take) {
  if (user === id) { if (['signed_out', 'closed', 'paused'].includes(client.state)) client.retryNow(); return; }
  user = id;
  follow(`user:${id}`, take, 'live');
}

let lost = 0;
connection.subscribe(({ state }) => {
  if (!user) return;
  if (state === 'signed_out') signedOut.value = true;
  if (state === 'live' || state === 'catching_up') {
    if (lost) { cuts.value = [...cuts.peek(), { from: lost, until: Date.now() }].slice(-50); void compareVersions(); }
    lost = 0;
  } else lost ||= Date.now();
});

/** A server that came back may have another version of the console. */
async function compareVersions() {
  const own = document.querySelector('meta[name=version]')?.getAttribute('content');
  const answer = await fetch('/console/', { method: 'HEAD', cache: 'no-store' }).catch(() => null);
  const tag = answer?.ok ? answer.headers.get('etag') : null;
  if (tag && !tag.includes(`"${own}"`)) outdated.value = true;
}

let hidden = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(() => { if (user && client.state === 'live') client.pause(); }, HIDDEN);
  else if (client.state === 'paused') client.retryNow();
  if (planned) flush();
});
export const retryNow = () => client.retryNow();
