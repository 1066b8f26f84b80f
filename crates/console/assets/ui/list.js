// Lists of the server: loaded a page at a time, searched, with words for empty, loading and failed.
import { h } from '../vendor/preact.js';
import { useEffect, useRef } from '../vendor/preact-hooks.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from './tags.js';
import { Trouble } from './field.js';
import { page, json } from '../live/api.js';
import { cuts } from '../live/link.js';
import { signedOut } from '../live/api.js';

const { div, p, button, input, label } = tags;
/** @typedef {{ items: any[] | null, next: string | null, missing?: string | null, problem: Error | null, more: () => void, reload: () => void, set: (items: any[]) => void }} Loaded */

/** What is shown is loaded again after this time: no topic reports the changes of a list. */
const FRESH = 10_000;

/** Calls `reload` now and then while the page is visible, and when it becomes visible again. @param {string | null} path @param {() => void} reload */
function useFresh(path, reload) {
  const latest = useRef(reload);
  latest.current = reload;
  useEffect(() => {
    if (!path) return undefined;
    let at = Date.now();
    const look = () => { if (!document.hidden && !signedOut.peek() && Date.now() - at >= FRESH) { at = Date.now(); latest.current(); } };
    const timer = setInterval(look, FRESH / 10);
    document.addEventListener('visibilitychange', look);
    return () => { clearInterval(timer); document.removeEventListener('visibilitychange', look); };
  }, [path]);
}

/** A list, loaded again when its address changes, when the connection comes back, and now and then, unless further pages are shown. @param {string | null} path @returns {Loaded} */
export function useList(path) {
  const state = useSignal(/** @type {{ items: any[] | null, next: string | null, missing?: string | null, problem: Error | null }} */ ({ items: null, next: null, problem: null }));
  const current = useRef(/** @type {AbortController | null} */ (null));
  const paged = useRef(false);
  /** A `quiet` failure leaves what is shown: nobody asked for it, and the state of the connection is shown already. */
  const load = async (/** @type {string} */ from, /** @type {boolean} */ add, quiet = false) => {
    current.current?.abort();
    const abort = current.current = new AbortController();
    try {
      const got = await page(from, abort.signal, !quiet);
      if (abort.signal.aborted) return;
      paged.current = add;
      state.value = { items: add ? [...(state.peek().items ?? []), ...got.items] : got.items, next: got.next, missing: got.missing, problem: null };
    } catch (error) { if (!abort.signal.aborted && !quiet) state.value = { ...state.peek(), problem: /** @type {Error} */ (error) }; }
    finally { if (current.current === abort) current.current = null; }
  };
  const reload = () => { if (path) void load(path, false); };
  useEffect(() => { reload(); return () => current.current?.abort(); }, [path, cuts.value.length]);
  useFresh(path, () => { if (path && !current.current && !paged.current && state.peek().items) void load(path, false, true); });
  return { ...state.value, more: () => { const { next } = state.peek(); if (next) void load(next, true); }, reload, set: (items) => { state.value = { ...state.peek(), items }; } };
}

/** One resource, loaded in the same way. An answer that nobody asked for changes nothing that was put in its place meanwhile. @param {string | null} path @returns {{ data: any, problem: Error | null, reload: () => void, set: (data: any) => void }} */
export function useOne(path) {
  const state = useSignal(/** @type {{ data: any, problem: Error | null }} */ ({ data: null, problem: null }));
  // Only the latest request counts: answers can overtake one another.
  const turn = useRef(0), from = useRef(path);
  const reload = () => {
    const mine = ++turn.current;
    if (path) json(path).then((data) => { if (mine === turn.current) { from.current = path; state.value = { data, problem: null }; } }, (problem) => { if (mine === turn.current) state.value = { data: from.current === path ? state.peek().data : null, problem }; });
  };
  useEffect(() => { reload(); return () => { turn.current += 1; }; }, [path, cuts.value.length]);
  useFresh(path, () => {
    const mine = turn.current, before = state.peek().data;
    if (path && before !== null) json(path, { patient: false }).then((data) => { if (mine === turn.current && state.peek().data === before) state.value = { data, problem: null }; }, () => {});
  });
  return { ...state.value, reload, set: (data) => { turn.current += 1; state.value = { data, problem: null }; } };
}

/** What a list shows besides its rows. @param {{ list: Loaded, empty: any }} props */
export function ListEnd({ list, empty }) {
  if (list.problem) return div(null, h(Trouble, { problem: list.problem }), button({ type: 'button', onClick: list.reload }, 'Try again'));
  if (!list.items) return p({ class: 'muted', 'aria-busy': true }, 'Loading…');
  if (!list.items.length) return div({ class: 'empty' }, empty);
  return list.next ? button({ type: 'button', class: 'more', onClick: list.more }, 'Show more') : null;
}

/** The search field of a screen; `/` puts the focus there. @param {{ value: string, set: (text: string) => void, label: string }} props */
export const Search = ({ value, set, label: text }) => div({ class: 'search' }, label({ class: 'hidden', for: 'search' }, text),
  input({ id: 'search', type: 'search', value, placeholder: text, 'aria-keyshortcuts': '/', onInput: (event) => set(event.currentTarget.value) }));
