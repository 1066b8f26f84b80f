// Ctrl K: every screen, vehicle, conversation and action by name.
import { h } from '../vendor/preact.js';
import { signal } from '../vendor/signals.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from './tags.js';
import { Dialog } from './dialog.js';
import { go } from './place.js';
import { page } from '../live/api.js';

const { div, input, ul, li, kbd, span, small } = tags;
/** @typedef {{ name: string, kind: string, keys?: string, run: () => void }} Choice */
export const open = signal(false);

/** @param {{ own: Choice[] }} props */
export const Palette = ({ own }) => (open.value ? h(Opened, { own }) : null);

/** @param {{ own: Choice[] }} props */
function Opened({ own }) {
  const words = useSignal(''), at = useSignal(0), found = useSignal(/** @type {Choice[]} */ ([]));
  useEffect(() => {
    const load = (/** @type {string} */ path, /** @type {(item: any) => Choice} */ choice) => page(path).then(({ items }) => { found.value = [...found.peek(), ...items.map(choice)]; }, () => {});
    void load('/api/vehicles?limit=100', (one) => ({ name: `${one.make} ${one.model} ${one.vin}`, kind: 'vehicle', run: () => go(`vehicles/${one.id}`) }));
    void load('/api/chat/conversations?limit=100', (one) => ({ name: one.title, kind: 'conversation', run: () => go(`chat/${one.id}`) }));
  }, []);
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const choices = [...own, ...found.value].filter((choice) => wanted.every((word) => `${choice.name} ${choice.kind}`.toLowerCase().includes(word))).slice(0, 50);
  const chosen = Math.min(at.value, choices.length - 1);
  const pick = (/** @type {Choice | undefined} */ choice) => { if (choice) { open.value = false; choice.run(); } };
  useEffect(() => { document.getElementById(`choice-${chosen}`)?.scrollIntoView({ block: 'nearest' }); }, [chosen]);
  return h(Dialog, { title: 'Go to', class: 'palette', onClose: () => { open.value = false; } },
    input({ type: 'text', role: 'combobox', 'aria-expanded': true, 'aria-controls': 'choices', 'aria-activedescendant': choices.length ? `choice-${chosen}` : undefined,
      'aria-label': 'Screen, vehicle, conversation or action', placeholder: 'Screen, vehicle, conversation or action', autocomplete: 'off', autofocus: true, value: words.value,
      onInput: (event) => { words.value = event.currentTarget.value; at.value = 0; },
      onKeyDown: (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step && choices.length) { event.preventDefault(); at.value = (chosen + step + choices.length) % choices.length; }
        if (event.key === 'Enter') { event.preventDefault(); pick(choices[chosen]); }
      } }),
    choices.length
      ? ul({ id: 'choices', role: 'listbox', 'aria-label': 'Choices' }, choices.map((choice, i) => li({ key: `${choice.kind}${choice.name}${i}`, id: `choice-${i}`, role: 'option', 'aria-selected': i === chosen, onClick: () => pick(choice) },
        span(null, choice.name, ' ', small({ class: 'muted' }, choice.kind)), choice.keys ? kbd(null, choice.keys) : null)))
      : div({ class: 'empty', id: 'choices' }, 'Nothing has this name.'));
}
