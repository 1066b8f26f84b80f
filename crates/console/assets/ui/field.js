// Form fields: a label, a control, what is expected, and what is wrong with it.
import { h } from '../vendor/preact.js';
import { useId } from '../vendor/preact-hooks.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from './tags.js';
import { Problem } from '../live/api.js';

const { div, label, small, input, select, option, p } = tags;

/** What a password must be; the service checks it. */
export const PASSWORD_HINT = 'At least 12 characters and hard to guess; several words are good';

/**
 * @typedef {object} FieldProps
 * @property {string} name @property {string} label @property {string} value @property {(value: string) => void} set
 * @property {string} [hint] @property {string | undefined} [wrong] @property {string} [type] @property {string[]} [choices] @property {boolean} [mono]
 * @property {string} [autocomplete] @property {string} [pattern] @property {boolean} [required] @property {string} [placeholder] @property {boolean} [autofocus] @property {Record<string, string>} [words]
 */
/** @param {FieldProps} props */
export function Field({ name, label: text, value, set, hint, wrong, type = 'text', choices, mono, autocomplete = 'off', pattern, required, placeholder, autofocus, words = {} }) {
  const id = useId(), described = [hint ? `${id}-hint` : '', wrong ? `${id}-wrong` : ''].filter(Boolean).join(' ') || undefined;
  const common = { id, name, required, 'aria-describedby': described, 'aria-invalid': wrong ? /** @type {const} */ (true) : undefined };
  return div({ class: 'field' }, label({ for: id }, text),
    choices
      ? select({ ...common, value, onChange: (event) => set(event.currentTarget.value) }, choices.map((choice) => option({ key: choice, value: choice }, words[choice] ?? (choice || '–'))))
      : input({ ...common, type: /** @type {any} */ (type), value, pattern, placeholder, autofocus, autocomplete: /** @type {any} */ (autocomplete), class: mono ? 'mono' : '', spellcheck: false, onInput: (event) => set(event.currentTarget.value) }),
    hint ? small({ id: `${id}-hint`, class: 'muted' }, hint) : null,
    wrong ? small({ id: `${id}-wrong`, class: 'wrong' }, `${text.replace(/ \(.*\)$/, '')} ${wrong}`) : null);
}

/** The state of a form: what the server said about each field, and whether it is being sent. */
export function useForm() {
  const busy = useSignal(false), problem = useSignal(/** @type {Problem | Error | null} */ (null));
  /** The errors that stand at their fields. */
  const placed = new Set();
  return {
    busy,
    /** What is wrong with a field: the rest of a sentence that begins with its name. @param {string} field */
    wrong: (field) => {
      const found = problem.value instanceof Problem ? problem.value.errors.find((one) => one.field === field || one.field.endsWith(`.${field}`)) : undefined;
      if (found) placed.add(found);
      return found?.message;
    },
    /** Runs an action of the form once at a time. @param {() => Promise<unknown>} action */
    run: async (action) => {
      if (busy.peek()) return false;
      busy.value = true;
      problem.value = null;
      try { await action(); return true; } catch (error) { problem.value = error instanceof Error ? error : new Error(String(error)); return false; } finally { busy.value = false; }
    },
    problem,
    says: () => (problem.value ? h(Trouble, { problem: problem.value, placed }) : null),
  };
}

/** An error in words, with the id under which the server logged it. @param {{ problem: Problem | Error, placed?: Set<unknown> }} props */
export function Trouble({ problem, placed }) {
  const unnamed = problem instanceof Problem ? problem.errors.filter((one) => !placed?.has(one)).map((one) => `${one.field} ${one.message}`).join('; ') : '';
  return div({ class: 'trouble', role: 'alert' }, p(null, problem.message, unnamed ? `: ${unnamed}` : ''),
    problem instanceof Problem && problem.requestId && problem.status >= 500 ? small({ class: 'mono' }, `request ${problem.requestId}`) : null);
}
