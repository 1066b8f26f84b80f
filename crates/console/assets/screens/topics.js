// The topic inspector: raw frames of any topic that the user may follow.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { tags } from '../ui/tags.js';
import { go, path, query, to } from '../ui/place.js';
import { AsOf } from '../ui/state.js';
import { Field, Trouble } from '../ui/field.js';
import { useList } from '../ui/list.js';
import { CopyAs, copy } from '../ui/copy.js';
import { clockTime, exact, when } from '../ui/text.js';
import { Problem } from '../live/api.js';
import { useTopic } from '../live/link.js';
import { me } from '../live/session.js';

const { div, h1, h2, p, form, button, ol, li, span, time, code, input, label, details, summary, pre, ul } = tags;
/** @typedef {import('../client/turnpike.js').Frame} Frame */
const KEPT = 500;

export default function Topics() {
  const topic = path.value[1] ?? '', since = query.value.get('since') ?? 'start', name = useSignal(topic), from = useSignal(since);
  useEffect(() => { name.value = topic; from.value = since; }, [topic, since]);
  const show = (/** @type {Event} */ event) => { event.preventDefault(); if (name.value.trim()) go(`topics/${encodeURIComponent(name.value.trim())}${from.value.trim() && from.value !== 'start' ? `?since=${encodeURIComponent(from.value.trim())}` : ''}`); };
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, 'Topics'), h(AsOf, null)),
    form({ class: 'inline', onSubmit: show }, h(Field, { name: 'topic', label: 'Topic', value: name.value, set: (value) => { name.value = value; }, mono: true, placeholder: 'response:…  conversation:…  room:…  captions:…  vehicle:…  user:…' }),
      h(Field, { name: 'since', label: 'From', value: from.value, set: (value) => { from.value = value; }, mono: true, hint: 'start, live, or an offset' }), button({ type: 'submit', class: 'primary' }, 'Follow')),
    topic ? h(Frames, { key: `${topic} ${since}`, topic, since }) : h(Examples, null));
}

/** Useful when empty: topics that this user may follow. */
function Examples() {
  const commands = useList('/api/commands?limit=3'), conversations = useList('/api/chat/conversations?limit=3'), rooms = useList('/api/rooms?joined=true&limit=3'), captions = useList('/api/captions/sessions?limit=3'), vehicles = useList('/api/vehicles?limit=3');
  const row = (/** @type {string} */ topic, /** @type {string} */ what) => li({ key: topic }, to(`topics/${topic}`, { 'data-row': '' }, span({ class: 'mono cut' }, topic), span({ class: 'muted' }, what)));
  return div({ class: 'card' }, h2(null, 'Topics that you may follow'), p({ class: 'muted' }, 'A topic is a numbered list of events that only grows. A client that comes late reads it from the start; one that was cut continues after its last offset.'),
    ul({ class: 'rows' }, (commands.items ?? []).map((one) => row(`response:${one.command_id}`, `${one.command_name}, a command`)), (conversations.items ?? []).map((one) => row(`conversation:${one.id}`, one.title)), (rooms.items ?? []).map((one) => row(`room:${one.id}`, `${one.name}, a room`)), (captions.items ?? []).map((one) => row(`captions:${one.session_id}`, `captions of ${when(one.created_at)}`)), (vehicles.items ?? []).map((one) => row(`vehicle:${one.id}`, `${one.make} ${one.model}`)), me.value ? row(`user:${me.value.id}`, 'your account') : null));
}

/** @param {{ topic: string, since: string }} props */
function Frames({ topic, since }) {
  const frames = useSignal(/** @type {Frame[]} */ ([])), held = useSignal(/** @type {Frame[]} */ ([])), paused = useSignal(false), words = useSignal(''), count = useSignal(0), refused = useSignal(/** @type {Problem | null} */ (null));
  // The own topic is followed already, by the shell.
  const own = topic === `user:${me.value?.id}`;
  useTopic(own ? null : topic, (some) => {
    count.value += some.filter((frame) => frame.offset).length;
    for (const frame of some) if (frame.event === 'error' && !frame.offset) refused.value = new Problem(/** @type {any} */ (frame));
    if (paused.peek()) held.value = [...held.peek(), ...some].slice(-KEPT); else frames.value = [...frames.peek(), ...some].slice(-KEPT);
  }, since);
  const resume = () => { paused.value = false; frames.value = [...frames.peek(), ...held.peek()].slice(-KEPT); held.value = []; };
  const wanted = words.value.toLowerCase(), shown = frames.value.filter((frame) => !wanted || JSON.stringify(frame).toLowerCase().includes(wanted));
  return div(null,
    div({ class: 'tools' }, div({ class: 'search' }, label({ class: 'hidden', for: 'search' }, 'Filter'), input({ id: 'search', type: 'search', value: words.value, placeholder: 'Filter frames', onInput: (event) => { words.value = event.currentTarget.value; } })),
      button({ type: 'button', 'aria-pressed': paused.value, onClick: () => { if (paused.peek()) resume(); else paused.value = true; } }, paused.value ? `Resume (${held.value.length} waiting)` : 'Pause'),
      button({ type: 'button', onClick: () => { frames.value = []; held.value = []; } }, 'Clear'),
      button({ type: 'button', onClick: () => void copy(shown.map((frame) => JSON.stringify(frame)).join('\n')) }, 'Copy all'),
      span({ class: 'muted num', role: 'status' }, `${count.value} events${count.value > KEPT ? `, the last ${KEPT} shown` : ''}`)),
    refused.value ? h(Trouble, { problem: refused.value }) : null,
    own ? p({ class: 'note' }, 'The events of your account end sessions; this page follows them all the time.') : null,
    shown.length ? null : p({ class: 'empty' }, words.value ? 'No frame matches.' : 'No event yet. They appear here as they happen.'),
    ol({ class: 'frames', 'data-count': count.value }, shown.map((frame, i) => li({ key: frame.offset ?? `${frame.event}${i}`, class: frame.offset ? '' : 'control' }, details(null,
      summary(null, span({ class: 'mono num' }, frame.offset ? `#${frame.offset.split('-')[1]}` : '·'), span({ class: 'frame-name' }, frame.event), code({ class: 'cut muted' }, brief(frame, topic)), time({ class: 'muted num', title: exact(frame.at) }, frame.at ? clockTime(frame.at) : '')),
      pre({ tabIndex: 0, role: 'group', 'aria-label': `Frame ${frame.event}` }, code(null, JSON.stringify(frame, null, 2))))))),
    h(CopyAs, { calls: [{ path: `/api/topics/${topic}/events?since=${since}`, stream: true }] }));
}
/** The fields of the event itself, without the id that is in the name of the topic. */
const brief = (/** @type {Frame} */ frame, /** @type {string} */ topic) => JSON.stringify(Object.fromEntries(Object.entries(frame).filter(([name, value]) => !['event', 'topic', 'offset', 'at'].includes(name) && `${value}` !== topic.split(':')[1]))).slice(0, 160);
