// Markdown as elements, never as HTML text: raw HTML stays visible as text, and only known kinds of links become links.
import { Lexer } from '../vendor/marked.js';
import { h, Fragment } from '../vendor/preact.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { copy } from '../ui/copy.js';
import { highlight } from './highlight.js';

const { p, a, code, em, strong, del, br, hr, blockquote, ul, ol, li, input, table, thead, tbody, tr, th, td, div, span, pre, button } = tags;
const OPTIONS = { gfm: true, breaks: false, async: /** @type {false} */ (false) };
const SAFE = /^(https?:\/\/|mailto:|#|\/(?![/\\]))/i;
const ENTITIES = /** @type {Record<string, string>} */ ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" });
const text = (/** @type {string} */ escaped) => escaped.replace(/&(amp|lt|gt|quot|#39);/g, (whole, name) => ENTITIES[name] ?? whole);

/** @returns {any[]} */
const lex = (/** @type {string} */ source) => new Lexer(OPTIONS).lex(source);

// A message is an h2. Whatever depths its author uses, its headings go down one level at a time from h3.
let outline = /** @type {number[]} */ ([]);
function level(/** @type {number} */ depth) {
  while (outline.length && /** @type {number} */ (outline.at(-1)) >= depth) outline.pop();
  outline.push(depth);
  return Math.min(6, 2 + outline.length);
}
/** @template T @param {number[]} from @param {() => T} work */
function outlined(from, work) { outline = from; return work(); }

/** A whole text. @returns {any} */
export const whole = (/** @type {string} */ source) => outlined([], () => view(lex(source)));
/** @returns {any} */
const view = (/** @type {any[]} */ tokens) => tokens.map(one);
const link = (/** @type {any} */ token, /** @type {any} */ shown) => (SAFE.test(token.href)
  ? a({ href: token.href, rel: 'noopener noreferrer nofollow', target: '_blank' }, shown)
  : span({ class: 'unlinked', title: 'Links of this kind are not opened' }, shown));

/** @returns {any} */
function one(/** @type {any} */ token) {
  switch (token.type) {
    case 'space': case 'def': return null;
    case 'heading': return h(/** @type {any} */ (`h${level(token.depth)}`), null, view(token.tokens));
    case 'paragraph': return p(null, view(token.tokens));
    case 'text': return token.tokens ? view(token.tokens) : text(token.text);
    case 'escape': return text(token.text);
    case 'strong': return strong(null, view(token.tokens));
    case 'em': return em(null, view(token.tokens));
    case 'del': return del(null, view(token.tokens));
    case 'br': return br();
    case 'hr': return hr();
    case 'codespan': return code(null, text(token.text));
    case 'code': return h(Code, { text: token.text, lang: (token.lang ?? '').split(/\s/)[0] });
    case 'blockquote': return blockquote(null, view(token.tokens));
    case 'list': return (token.ordered ? ol : ul)(token.ordered ? { start: token.start || 1 } : null, token.items.map(one));
    case 'list_item': return li(null, token.task ? input({ type: 'checkbox', checked: token.checked, disabled: true, 'aria-label': token.checked ? 'done' : 'to do' }) : null, view(token.tokens));
    case 'checkbox': return null; // shown by its list item
    case 'table': return div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Table' }, table(null,
      thead(null, tr(null, token.header.map((/** @type {any} */ cell) => th({ scope: 'col' }, view(cell.tokens))))),
      tbody(null, token.rows.map((/** @type {any} */ row) => tr(null, row.map((/** @type {any} */ cell) => td(null, view(cell.tokens))))))));
    case 'link': return link(token, view(token.tokens));
    case 'image': return link(token, `[image: ${token.text || token.href}]`); // nothing is fetched from elsewhere
    default: return span({ class: 'raw' }, token.raw); // HTML, and anything that a later version of the lexer may find
  }
}

/** @param {{ text: string, lang: string }} props */
function Code({ text: source, lang }) {
  const shown = useSignal(/** @type {any} */ (source));
  useEffect(() => {
    shown.value = source;
    const wait = setTimeout(() => highlight(source, lang).then((coloured) => { shown.value = coloured; }, () => {}), 150);
    return () => clearTimeout(wait);
  }, [source, lang]);
  return div({ class: 'code' },
    div({ class: 'code-head' }, span(null, lang || 'text'), button({ type: 'button', class: 'quiet', 'aria-label': 'Copy code', onClick: () => void copy(source) }, 'Copy')),
    pre({ tabIndex: 0, role: 'group', 'aria-label': `Code, ${lang || 'text'}` }, code(null, shown.value)));
}

/** A text that grows: its settled blocks are parsed once; only the last ones are parsed again. */
export class Growing {
  source = '';
  #tail = '';
  /** @type {any[]} */ #settled = [];
  /** @type {number[]} */ #outline = [];
  push(/** @type {string} */ more) {
    this.source += more;
    this.#tail += more;
    const tokens = lex(this.#tail);
    while (tokens.length > 2) {
      const token = tokens.shift();
      this.#settled.push(h(Fragment, { key: this.#settled.length }, outlined(this.#outline, () => one(token))));
      this.#tail = this.#tail.slice(token.raw.length);
    }
    return [...this.#settled, h(Fragment, { key: 'tail' }, outlined([...this.#outline], () => view(tokens)))];
  }
}
