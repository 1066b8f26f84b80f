// The address: /console/<screen>/<id>…?<query>. Every screen has one, so every screen can be linked to.
import { signal, batch } from '../vendor/signals.js';
import { tags } from './tags.js';

const parts = () => location.pathname.replace(/^\/console\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
/** The parts of the path after /console/. */
export const path = signal(parts());
export const query = signal(new URLSearchParams(location.search));
const read = () => batch(() => { path.value = parts(); query.value = new URLSearchParams(location.search); });
addEventListener('popstate', read);

/** @param {string} to @param {{ replace?: boolean }} [how] */
export function go(to, { replace = false } = {}) {
  if (replace) history.replaceState(null, '', `/console/${to}`); else history.pushState(null, '', `/console/${to}`);
  read();
}

/** A link to a screen. @param {string} to @param {(import('./tags.js').All['a'] & import('./tags.js').Data) | null} props @param {import('./tags.js').Kids[]} kids */
export const to = (to, props, ...kids) => tags.a(/** @type {any} */ ({
  href: `/console/${to}`, ...props,
  onClick: (/** @type {MouseEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
    event.preventDefault();
    go(to);
  },
}), ...kids);
