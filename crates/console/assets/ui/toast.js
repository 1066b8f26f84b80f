// Short notices. They stay until they are closed if something failed, else for six seconds.
import { signal } from '../vendor/signals.js';
import { tags } from './tags.js';

const { div, button, p } = tags;
/** @typedef {{ id: number, text: string, bad: boolean, action?: { name: string, run: () => void } | undefined }} Toast */
const toasts = signal(/** @type {Toast[]} */ ([]));
let last = 0;

/** @param {string} text @param {{ bad?: boolean, action?: Toast['action'] }} [how] */
export function toast(text, { bad = false, action } = {}) {
  if (toasts.peek().some((one) => one.text === text)) return;
  const id = ++last;
  toasts.value = [...toasts.peek(), { id, text, bad, action }].slice(-4);
  if (!bad && !action) setTimeout(() => close(id), 6000);
}
const close = (/** @type {number} */ id) => { toasts.value = toasts.peek().filter((one) => one.id !== id); };

/** Says that something failed, for a rejected promise. */
export const failed = (/** @type {unknown} */ error) => toast(error instanceof Error ? error.message : String(error), { bad: true });

export const Toasts = () => div({ class: 'toasts', role: 'status', 'aria-live': 'polite' }, toasts.value.map((one) =>
  div({ key: one.id, class: `toast ${one.bad ? 'failed' : ''}` }, p(null, one.text),
    one.action ? button({ type: 'button', onClick: () => { close(one.id); one.action?.run(); } }, one.action.name) : null,
    button({ type: 'button', class: 'quiet', 'aria-label': 'Close notice', onClick: () => close(one.id) }, '✕'))));
