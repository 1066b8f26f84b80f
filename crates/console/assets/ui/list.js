// Lists of the server: loaded a page at a time, searched, with words for empty, loading and failed.
import { h } from '../vendor/preact.js';
import { useEffect, useRef } from '../vendor/preact-hooks.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from './tags.js';
import { Trouble } from './field.js';
import { page, json } from '../live/api.js';
import { cuts } from '../live/link.js';

const { div, p, button, input, label } = tags;
/** @typedef {{ items: any[] | null, next: string | null, missing?: string | null, problem: Error | null, more: () => void, reload: () => void, set: (items: any[]) => void }} Loaded */

/** A list, loaded again when its address changes and when the connection comes back. @param {string | null} path @returns {Loaded} */
export function useList(path) {
  const state = useSignal(/** @type {{ items: any[] | null, next: string | null, missing?: string | null, problem: Error | null }} */ ({ items: null, next: null, problem: null }));
  const current = useRef(/** @type {AbortController | null} */ (null));
  const load = async (/** @type {string} */ from, /** @type {boolean} */ add) => {
    current.current?.abort();
    const abort = current.current = new AbortController();
    try {
      const got = await page(from, abort.signal);
      if (abort.signal.aborted) return;
      state.value = { items: add ? [...(state.peek().items ?? []), ...got.items] : got.items, next: got.next, missing: got.missing, problem: null };
    } catch (error) { if (!abort.signal.aborted) state.value = { ...state.peek(), problem: /** @type {Error} */ (error) }; }
  };
  const reload = () => { if (path) void load(path, false); };
  useEffect(() => { reload(); return () => current.current?.abort(); }, [path, cuts.value.length]);
  return { ...state.value, more: () => { const { next } = state.peek(); if (next) void load(next, true); }, reload, set: (items) => { state.value = { ...state.peek(), items }; } };
}

/** One resource, loaded in the same way. @param {string | null} path @returns {{ data: any, problem: Error | null, reload: () => void, set: (data: any) => void }} */
export function useOne(path) {
  const state = useSignal(/** @type {{ data: any, problem: Error | null }} */ ({ data: null, problem: null }));
  // Only the latest request counts: answers can overtake one another.
  const turn = useRef(0), from = useRef(path);
  const reload = () => {
    const mine = ++turn.current;
    if (path) json(path).then((data) => { if (mine === turn.current) { from.current = path; state.value = { data, problem: null }; } }, (problem) => { if (mine === turn.current) state.value = { data: from.current === path ? state.peek().data : null, problem }; });
  };
  useEffect(() => { reload(); return () => { turn.current += 1; }; }, [path, cuts.value.length]);
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
