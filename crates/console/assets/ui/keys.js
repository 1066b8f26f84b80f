// Keys. Single letters can be turned off (WCAG 2.1.4), and never count while a field has the focus.
import { signal } from '../vendor/signals.js';

export const single = signal(localStorage.getItem('single-keys') !== 'off');
single.subscribe((on) => { if (on) localStorage.removeItem('single-keys'); else localStorage.setItem('single-keys', 'off'); });

const typing = (/** @type {EventTarget | null} */ target) => target instanceof HTMLElement && (target.matches('input, textarea, select') || target.isContentEditable);
/** When `g` was pressed, by the clock of the events: a page that is slow does not shorten the time for the next key. */
let prefix = -Infinity;

/** @param {{ palette: () => void, help: () => void, place: (letter: string) => boolean }} actions */
export function listen({ palette, help, place }) {
  addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') { event.preventDefault(); palette(); return; }
    if (!single.value || event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) return;
    if (event.timeStamp - prefix < 1500 && place(event.key)) { prefix = -Infinity; event.preventDefault(); return; }
    prefix = event.key === 'g' ? event.timeStamp : -Infinity;
    if (event.key === '?') { event.preventDefault(); help(); }
    if (event.key === '/') focus('#search, [type=search]', event);
    if (event.key === 'n') { const button = document.querySelector('[data-new]'); if (button instanceof HTMLElement) { event.preventDefault(); button.click(); } }
    if (event.key === 'j' || event.key === 'k') walk(event.key === 'j' ? 1 : -1, event);
  });
}
function focus(/** @type {string} */ selector, /** @type {Event} */ event) {
  const found = document.querySelector(selector);
  if (found instanceof HTMLElement) { event.preventDefault(); found.focus(); }
}
function walk(/** @type {number} */ step, /** @type {Event} */ event) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('main [data-row]')]);
  if (!rows.length) return;
  event.preventDefault();
  const at = rows.findIndex((row) => row === document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + step))]?.focus();
}
