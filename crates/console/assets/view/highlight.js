// Colours for code, as elements. A grammar is loaded when the first block of its language is shown.
import { tags } from '../ui/tags.js';

const LANGUAGES = new Set(['bash', 'c', 'cpp', 'css', 'diff', 'go', 'ini', 'javascript', 'json', 'python', 'rust', 'sql', 'typescript', 'xml', 'yaml']);
const ALIASES = /** @type {Record<string, string>} */ ({ rs: 'rust', py: 'python', sh: 'bash', shell: 'bash', js: 'javascript', ts: 'typescript', yml: 'yaml', html: 'xml', toml: 'ini', 'c++': 'cpp' });
const LONGEST = 50_000;
/** @type {any} */ let core;

/** @param {string} text @param {string} lang @returns {Promise<any>} */
export async function highlight(text, lang) {
  const name = ALIASES[lang] ?? lang;
  if (!LANGUAGES.has(name) || text.length > LONGEST) return text;
  const [found, grammar] = await Promise.all([import('../vendor/hljs/core.js'), import(`../vendor/hljs/${name}.js`)]);
  core ??= /** @type {any} */ (found).default;
  if (!core.getLanguage(name)) core.registerLanguage(name, grammar.default);
  return elements(core.highlight(text, { language: name })._emitter.root);
}

/** @returns {any} */
function elements(/** @type {any} */ node) {
  return node.children.map((/** @type {any} */ child) => (typeof child === 'string' ? child : tags.span({ class: `hl-${String(child.scope ?? '').split('.')[0]}` }, elements(child))));
}
