// Captions: what is said, as text, from the microphone or a file; and the sessions of before.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { useEffect, useRef } from '../vendor/preact-hooks.js';
import { tags } from '../ui/tags.js';
import { go, path, to } from '../ui/place.js';
import { AsOf, pill } from '../ui/state.js';
import { Field, Trouble, useForm } from '../ui/field.js';
import { ListEnd, Search, useList, useOne } from '../ui/list.js';
import { copy, CopyAs, Snippet } from '../ui/copy.js';
import { failed } from '../ui/toast.js';
import { exact, when } from '../ui/text.js';
import { json, page, Problem, send } from '../live/api.js';
import { capturing } from '../live/capturing.js';
import { useTopicState } from '../live/link.js';
import { finish, fromFile, fromMicrophone } from '../capture/capture.js';
import { RATE } from '../capture/samples.js';

const { div, h1, h2, p, ul, ol, li, span, small, button, form, label, input, textarea, aside, time, a, meter, progress } = tags;
/** @typedef {{ segment: number, text: string, start_ms: number, corrected?: boolean, translation?: string | null }} Line */
/** @typedef {{ segment: number, committed: string, tentative: string, start_ms: number }} Partial */
const REASONS = /** @type {Record<string, string>} */ ({ idle: 'It ended because no sound arrived.', interrupted: 'It was interrupted by a stop of the server.', engine_failed: 'The speech model failed.' });

/** @param {number} ms */
const minutes = (ms) => { const s = Math.floor(ms / 1000), two = (/** @type {number} */ n) => String(n).padStart(2, '0'); return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`; };
const length = (/** @type {number} */ samples) => minutes((samples * 1000) / RATE);

export default function Captions() {
  const id = path.value[1] ?? null, list = useList('/api/captions/sessions?limit=50'), words = useSignal('');
  const found = useFound(words.value);
  return div({ class: `split ${id ? 'one' : ''}` },
    aside({ class: 'side', 'aria-label': 'Sessions' },
      div({ class: 'tools' }, h(Search, { label: 'Search lines', value: words.value, set: (text) => { words.value = text; } }), to('captions', { class: 'button', 'data-new': '', 'aria-keyshortcuts': 'n' }, 'New')),
      found
        ? ul({ class: 'rows' }, found.map((one) => li({ key: `${one.session_id}.${one.segment}` }, to(`captions/${one.session_id}`, { 'data-row': '' },
          span({ class: 'stack' }, span({ class: 'num cut' }, `${when(one.created_at)}, ${minutes(one.start_ms)}`), small({ class: 'muted' }, one.snippet))))), found.length ? null : li({ class: 'empty' }, 'No line has these words.'))
        : ul({ class: 'rows' }, (list.items ?? []).map((one) => li({ key: one.session_id }, to(`captions/${one.session_id}`, { 'data-row': '', 'aria-current': one.session_id === id ? 'page' : undefined },
          span({ class: 'stack' }, time({ class: 'num cut', title: exact(one.created_at) }, when(one.created_at)), small({ class: 'muted num' }, `${length(one.samples)}, ${one.final_count} ${one.final_count === 1 ? 'line' : 'lines'}`)), one.status === 'running' ? pill(one.state) : null))),
        li(null, h(ListEnd, { list, empty: p(null, 'Your sessions appear here. They are kept for some days.') })))),
    id ? h(Session, { key: id, id, changed: list.reload }) : div({ class: 'talk' }, div({ class: 'scroll' }, div({ class: 'column tall' }, h1({ class: 'centred' }, 'Captions'),
      p({ class: 'muted centred' }, 'Speech becomes text while it is spoken. The speech model understands English. Nothing is lost when the connection breaks.'),
      capturing.value ? p({ class: 'note' }, 'This tab captions already: ', to(`captions/${capturing.value.id}`, null, 'show it')) : h(Sources, { began: (session) => { list.reload(); go(`captions/${session}`); } }))))); 
}

/** The lines that have these words; `null` without words. @param {string} words */
function useFound(words) {
  const found = useSignal(/** @type {any[] | null} */ (null)), wanted = words.trim();
  useEffect(() => {
    if (!wanted) { found.value = null; return undefined; }
    const abort = new AbortController();
    const search = async () => {
      // A page covers a bounded part of the transcripts, and can be empty before the last one.
      let next = /** @type {string | null} */ (`/api/captions/search?${new URLSearchParams({ q: wanted })}`), results = /** @type {any[]} */ ([]);
      while (next && !results.length) { const got = /** @type {any} */ (await page(next, abort.signal)); ({ next } = got); ({ results } = got.items); }
      found.value = results;
    };
    const wait = setTimeout(() => search().catch((error) => { if (!abort.signal.aborted) failed(error); }), 250);
    return () => { clearTimeout(wait); abort.abort(); };
  }, [wanted]);
  return found.value;
}

/** Where the sound comes from. @param {{ session?: string, began?: (id: string) => void }} props */
function Sources({ session, began }) {
  const state = useForm(), chosen = useRef(/** @type {HTMLInputElement | null} */ (null)), busy = useSignal(''), language = useSignal(''), room = useSignal(''), engine = useSignal('');
  const known = useOne('/api/captions/engines'), engines = /** @type {{ name: string }[] | null} */ (known.data);
  const rooms = useList(session ? null : '/api/rooms?joined=true').items ?? [], names = Object.fromEntries([['', 'No room'], ...rooms.map((one) => [one.id, one.name])]);
  const options = () => ({ ...(language.peek().trim() ? { translate_to: language.peek().trim() } : {}), ...(room.peek() ? { room_id: room.peek() } : {}), ...(engine.peek() ? { engine: engine.peek() } : {}) });
  const run = async (/** @type {string} */ words, /** @type {() => Promise<string>} */ start) => { busy.value = words; await state.run(async () => { const id = await start(); began?.(id); }); busy.value = ''; };
  const problem = state.problem.value, refused = problem instanceof Problem && problem.code === 'ENGINE_UNAVAILABLE', no = engines ? engines.length === 0 : refused;
  // The server loads a model as soon as it is installed.
  useEffect(() => {
    if (!no) return undefined;
    const timer = setInterval(known.reload, 2_000);
    return () => clearInterval(timer);
  }, [no]);
  return div({ class: 'sources' },
    no ? div({ class: 'note' }, p(null, 'No speech model is installed. To install one (88 MB), run this command on the server, in the folder of the source code. This page notices when it is done.'), h(Snippet, { name: 'Terminal', text: './scripts/captions-model' })) : null,
    !session && engines && engines.length > 1 ? h(Field, { name: 'engine', label: 'Speech engine', value: engine.value || engines[0]?.name || '', set: (one) => { engine.value = one; }, choices: engines.map((one) => one.name), wrong: state.wrong('engine') }) : null,
    session ? null : h(Field, { name: 'translate_to', label: 'Translate into', value: language.value, set: (text) => { language.value = text; }, placeholder: 'German', hint: 'Optional. The language model of the chat translates each line.', wrong: state.wrong('translate_to') }),
    rooms.length ? h(Field, { name: 'room_id', label: 'Write into a room', value: room.value, set: (one) => { room.value = one; }, choices: ['', ...rooms.map((one) => one.id)], words: names, hint: 'Each line becomes a message of yours, labelled as captions.', wrong: state.wrong('room_id') }) : null,
    div({ class: 'buttons' },
      button({ type: 'button', class: 'primary', 'aria-disabled': state.busy.value || no, onClick: () => { if (!no) void run('Starting the microphone…', () => fromMicrophone(session, options())); } }, session ? 'Continue with the microphone' : 'Use the microphone'),
      button({ type: 'button', 'aria-disabled': state.busy.value || no, onClick: () => { if (!no) chosen.current?.click(); } }, session ? 'Continue with the file' : 'Choose a file'),
      input({ ref: chosen, type: 'file', hidden: true, accept: 'audio/*,video/*', 'aria-label': 'File', onChange: (event) => { const [file] = event.currentTarget.files ?? []; event.currentTarget.value = ''; if (file) void run(`Reading ${file.name}…`, () => fromFile(file, session, options())); } })),
    p({ class: 'muted small-print', role: 'status' }, busy.value || (session ? 'The same file is continued where it was cut.' : 'A file can be WAV, MP3, Ogg, FLAC, MP4 or WebM.')),
    problem && !refused ? h(Trouble, { problem }) : null);
}

/** @param {{ id: string, changed: () => void }} props */
function Session({ id, changed }) {
  const session = useSignal(/** @type {any} */ (null)), lines = useSignal(/** @type {Line[]} */ ([])), next = useSignal(/** @type {string | null} */ (null)), partial = useSignal(/** @type {Partial | null} */ (null)), problem = useSignal(/** @type {Error | null} */ (null));
  const box = useRef(/** @type {HTMLDivElement | null} */ (null)), following = useRef(true);
  const pin = () => requestAnimationFrame(() => { if (box.current && following.current) box.current.scrollTop = box.current.scrollHeight; });
  const put = (/** @type {Line[]} */ some) => { if (some.length) lines.value = [...new Map([...lines.peek(), ...some].map((one) => [one.segment, one])).values()].sort((x, y) => x.segment - y.segment); };
  const read = async () => {
    try {
      const [now, got] = await Promise.all([json(`/api/captions/sessions/${id}/snapshot`), page(`/api/captions/sessions/${id}/finals?limit=100`)]);
      return () => { session.value = now; problem.value = null; if (!lines.peek().length) next.value = got.next; put(got.items); partial.value = now.partial; pin(); };
    } catch (error) { return () => { problem.value = /** @type {Error} */ (error); }; }
  };
  useTopicState(`captions:${id}`, read, (frames) => {
    for (const frame of frames) {
      if (frame.event === 'partial') partial.value = /** @type {any} */ (frame);
      if (frame.event === 'final') { put([/** @type {any} */ (frame)]); if ((partial.peek()?.segment ?? 0) <= frame['segment']) partial.value = null; }
      if (frame.event === 'corrected') put(lines.peek().filter((one) => one.segment === frame['segment']).map((one) => ({ ...one, text: frame['text'], corrected: true, translation: null })));
      if (frame.event === 'translation' && !frame['partial']) put(lines.peek().filter((one) => one.segment === frame['segment']).map((one) => ({ ...one, translation: frame['text'] })));
      if (frame.event === 'status') { session.value = { ...session.peek(), status: frame['status'], state: frame['state'], reason: frame['reason'], samples: frame['samples'] }; if (frame['status'] === 'stopped') { partial.value = null; changed(); } }
      if (frame.event === 'error' && !frame.offset) problem.value = new Problem(/** @type {any} */ (frame));
    }
    pin();
  });
  const one = session.value, here = capturing.value?.id === id;
  if (problem.value && !one) return div({ class: 'scroll' }, div({ class: 'empty' }, h1(null, 'Captions'), h(Trouble, { problem: problem.value }), to('captions', { class: 'button' }, 'All sessions')));
  if (!one) return div({ class: 'scroll' }, h1({ class: 'hidden' }, 'Captions'), p({ class: 'muted', 'aria-busy': true }, 'Loading…'));
  const earlier = () => { const from = next.peek(); if (from) page(from).then((got) => { next.value = got.next; put(got.items); }, failed); };
  return div({ class: 'talk' },
    div({ class: 'talk-head' }, to('captions', { class: 'narrow-only button', 'aria-label': 'All sessions' }, '‹'), h1({ class: 'cut' }, 'Captions ', time({ class: 'muted', title: exact(one.created_at) }, when(one.created_at))), h(AsOf, null), pill(one.state)),
    problem.value ? h(Trouble, { problem: problem.value }) : null,
    div({ class: 'scroll', ref: box, tabIndex: 0, role: 'log', 'aria-label': 'Captions', onScroll: ({ currentTarget: b }) => { following.current = b.scrollHeight - b.scrollTop - b.clientHeight < 48; } },
      div({ class: 'column' }, next.value ? button({ type: 'button', class: 'more', onClick: earlier }, 'Earlier lines') : null,
        ol({ class: 'cues', 'data-state': one.state }, lines.value.map((line) => h(Cue, { key: line.segment, session: id, line, put })), h(Live, { partial, pin })),
        lines.value.length || partial.value ? null : p({ class: 'empty' }, one.status === 'running' ? 'The words appear here while they are spoken.' : 'No words were heard.'),
        one.status === 'stopped' && REASONS[one.reason] ? p({ class: 'note' }, REASONS[one.reason]) : null,
        one.config?.room_id ? p({ class: 'note' }, 'Each line is written into ', to(`rooms/${one.config.room_id}`, null, 'a room'), '.') : null,
        lines.value.length ? h(Files, { id, created: one.created_at }) : null,
        h(CopyAs, { calls: [{ path: `/api/captions/sessions/${id}/captions.vtt`, rpc: 'turnpike.captions.v1.CaptionService/GetTranscript', message: { session_id: id }, port: 50055 }, { path: `/api/topics/captions:${id}/events?since=start`, stream: true }, { method: 'POST', path: '/api/captions/sessions', body: {} }] }))),
    one.status === 'stopped' ? null : div({ class: 'composer' }, here ? h(Capture, { id, paused: one.state === 'paused' }) : one.state === 'draining' ? p({ class: 'muted' }, 'The last words are transcribed…') : h(Waiting, { id, elsewhere: one.state === 'running' })));
}

/** What is being said: words that stay, and words that may still change. @param {{ partial: import('../vendor/signals.js').Signal<Partial | null>, pin: () => void }} props */
function Live({ partial, pin }) {
  const now = partial.value;
  useEffect(pin, [now]);
  return now ? li({ class: 'cue live-cue', 'data-live': '' }, time({ class: 'muted num mono' }, minutes(now.start_ms)), span(null, span({ class: 'committed' }, now.committed), ' ', span({ class: 'muted tentative' }, now.tentative))) : null;
}

/** @param {{ session: string, line: Line, put: (lines: Line[]) => void }} props */
function Cue({ session, line, put }) {
  const text = useSignal(/** @type {string | null} */ (null)), id = `correct-${line.segment}`;
  const save = () => { json(`/api/captions/sessions/${session}/finals/${line.segment}`, { method: 'PATCH', body: { text: text.peek()?.trim() } }).then((now) => { text.value = null; put([now]); }, failed); }; // a session that has ended publishes no event
  return li({ class: 'cue', 'data-segment': line.segment }, time({ class: 'muted num mono' }, minutes(line.start_ms)),
    text.value === null ? span(null, line.text, line.corrected ? small({ class: 'muted' }, ' corrected') : null, line.translation ? span({ class: 'muted translation', lang: '' }, line.translation) : null)
      : form({ onSubmit: (event) => { event.preventDefault(); save(); } }, label({ class: 'hidden', for: id }, 'Text'), textarea({ id, autofocus: true, value: text.value, onInput: (event) => { text.value = event.currentTarget.value; } }), div({ class: 'buttons' }, button({ type: 'button', onClick: () => { text.value = null; } }, 'Cancel'), button({ type: 'submit', class: 'primary' }, 'Save'))),
    text.value === null ? button({ type: 'button', class: 'quiet', 'aria-label': `Correct line ${line.segment}`, onClick: () => { text.value = line.text; } }, 'Correct') : null);
}

/** @param {{ id: string, created: string }} props */
function Files({ id, created }) {
  const file = (/** @type {string} */ ending) => ({ href: `/api/captions/sessions/${id}/captions.${ending}`, download: `captions-${(created ?? '').slice(0, 16).replace(/[^\d]+/g, '-')}.${ending}`, class: 'button' });
  return div({ class: 'buttons files' }, a(file('vtt'), 'WebVTT'), a(file('srt'), 'SRT'), a(file('txt'), 'Text'),
    button({ type: 'button', onClick: () => { send(`/api/captions/sessions/${id}/captions.txt`).then((answer) => answer.text()).then((text) => copy(text), failed); } }, 'Copy the text'));
}

/** The controls of the session to which this tab sends. @param {{ id: string, paused: boolean }} props */
function Capture({ id, paused }) {
  const now = capturing.value;
  if (!now) return null;
  const { sender, kind, muted } = now, state = sender.state.value, finishing = sender.finishing.value, microphone = kind === 'microphone';
  const ask = (/** @type {string} */ what) => json(`/api/captions/sessions/${id}/${what}`, { method: 'POST' }).catch(failed);
  const pause = () => { muted.value = !paused; void ask(paused ? 'resume' : 'pause'); };
  const stop = () => { if (microphone) finish(); else json(`/api/captions/sessions/${id}`, { method: 'DELETE' }).catch(failed); };
  const words = state === 'waiting' ? 'The connection was cut. The sound is kept and sent when it is back.' : state === 'connecting' ? 'Connecting…' : microphone && finishing ? 'Sending the rest…' : microphone && paused ? 'Paused: nothing is heard' : microphone ? 'Listening' : 'Sending the file';
  return div({ class: 'capture' },
    microphone ? h(Level, { level: now.level }) : progress({ max: sender.source.end, value: sender.arrived.value, 'aria-label': 'Sent' }),
    span({ class: 'muted num', 'data-capture': state }, microphone ? length(sender.arrived.value) : `${length(sender.arrived.value)} of ${length(sender.source.end)}`),
    span({ class: 'grow', role: 'status' }, words),
    microphone && !finishing ? [button({ key: 'pause', type: 'button', 'aria-pressed': paused, onClick: pause }, paused ? 'Resume' : 'Pause'), button({ key: 'line', type: 'button', onClick: () => void ask('finalize') }, 'End the line')] : null,
    microphone && finishing ? null : button({ type: 'button', class: 'danger', onClick: stop }, 'Stop'),
    sender.lost.value ? p({ class: 'note' }, `${length(sender.lost.value)} of sound was lost with the connection; the captions have a gap there.`) : null);
}

/** How loud it is, ten times a second. @param {{ level: import('../live/capturing.js').Level }} props */
const Level = ({ level }) => meter({ min: 0, max: 1, value: level.value, 'aria-label': 'Level of the microphone' });

/** A session that gets no audio from this tab. @param {{ id: string, elsewhere: boolean }} props */
function Waiting({ id, elsewhere }) {
  return div(null, p({ class: 'muted' }, elsewhere ? 'Another tab sends the sound, or the page was closed while it was sent. Without sound, the session ends after two minutes.' : 'The session waits for sound.'),
    capturing.value ? null : h(Sources, { session: id }),
    button({ type: 'button', class: 'danger', onClick: () => { json(`/api/captions/sessions/${id}`, { method: 'DELETE' }).catch(failed); } }, 'Stop'));
}
