// What was typed and not sent, by user and place. It survives reloads, crashes and the end of the session.
import { signal } from '../vendor/signals.js';

let user = '';
/** @type {Map<string, import('../vendor/signals.js').Signal<string>>} */ const open = new Map();
const name = (/** @type {string} */ place) => `draft:${user}:${place}`;
export const of = (/** @type {string} */ id) => { user = id; };

/** The draft of a place. An empty one is not stored. */
export function draft(/** @type {string} */ place) {
  const key = name(place);
  let found = open.get(key);
  if (!found) {
    found = signal(localStorage.getItem(key) ?? '');
    open.set(key, found);
    let first = true;
    found.subscribe((text) => {
      if (first) { first = false; return; }
      if (text) localStorage.setItem(key, text); else localStorage.removeItem(key);
    });
  }
  return found;
}
const own = () => Object.keys(localStorage).filter((key) => key.startsWith(`draft:${user}:`));
export const any = () => own().length > 0;
export function wipe() { for (const key of own()) localStorage.removeItem(key); }
