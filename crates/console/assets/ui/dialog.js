// Dialogs of the browser, which keep the focus inside and give it back.
import { h } from '../vendor/preact.js';
import { signal } from '../vendor/signals.js';
import { useLayoutEffect, useRef } from '../vendor/preact-hooks.js';
import { tags } from './tags.js';

const { dialog, form, h2, p, div, button, label, input } = tags;

/** @typedef {{ title: string, onClose: () => void, children?: any, class?: string }} Shown */
/** A dialog that is open while it is on the page. @param {Shown} props */
export function Dialog({ title, onClose, children, class: look = '' }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  // Opened before the next key arrives, so that what the user types goes into the dialog.
  useLayoutEffect(() => { box.current?.showModal(); }, []);
  return dialog({ ref: box, class: look, 'aria-label': title, onClose, onClick: (event) => { if (event.target === box.current) box.current?.close(); } }, children);
}

/** @typedef {{ title: string, text: string, verb: string, typed?: string | undefined, run: () => Promise<unknown> }} Question */
const question = signal(/** @type {(Question & { done: (yes: boolean) => void }) | null} */ (null));
const written = signal('');

/** Asks before something that cannot be undone. With `typed`, the user types this text. Resolves after `run`, or with false. @param {Question} asked @returns {Promise<boolean>} */
export const confirm = (asked) => new Promise((done) => { written.value = ''; question.value = { ...asked, done }; });

export function Confirmation() {
  const asked = question.value;
  if (!asked) return null;
  const end = (/** @type {boolean} */ yes) => { question.value = null; asked.done(yes); };
  const ready = !asked.typed || written.value.trim() === asked.typed;
  return h(Dialog, { title: asked.title, onClose: () => { if (question.peek() === asked) end(false); } },
    form({ method: 'dialog', onSubmit: async (event) => {
      event.preventDefault();
      if (!ready) return;
      question.value = null;
      try { await asked.run(); asked.done(true); } catch (error) { asked.done(false); const { failed } = await import('./toast.js'); failed(error); }
    } },
    h2(null, asked.title), p(null, asked.text),
    asked.typed ? div({ class: 'field' }, label({ for: 'typed' }, `Type ${asked.typed} to confirm`),
      input({ id: 'typed', type: 'text', class: 'mono', autocomplete: 'off', value: written.value, onInput: (event) => { written.value = event.currentTarget.value; } })) : null,
    div({ class: 'buttons' },
      button({ type: 'button', onClick: () => end(false) }, 'Keep it'),
      button({ type: 'submit', class: 'danger', 'aria-disabled': !ready }, asked.verb))));
}
