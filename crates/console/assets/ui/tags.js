// Elements as functions, so that tsc checks every attribute of every element: div({ class: 'row' }, child).
import { h } from '../vendor/preact.js';

/** @typedef {import('../vendor/preact.js').ComponentChildren} Kids */
/** @typedef {import('../vendor/preact.js').JSX.IntrinsicElements} All */
/** @typedef {{ [data: `data-${string}`]: string | number | undefined }} Data */
/** @typedef {{ [T in keyof All]: (props?: (All[T] & Data) | null, ...kids: Kids[]) => import('../vendor/preact.js').VNode<any> }} Tags */

export const tags = /** @type {Tags} */ (new Proxy(
  {}, { get: (_, name) => (/** @type {any} */ props, /** @type {any[]} */ ...kids) => h(/** @type {any} */ (name), props, ...kids) },
));
