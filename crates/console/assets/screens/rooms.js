// Rooms: conversations of people, with who is there, who types, and what is unread.
import { h } from '../vendor/preact.js';
import { signal, useSignal } from '../vendor/signals.js';
import { useEffect, useRef } from '../vendor/preact-hooks.js';
import { tags } from '../ui/tags.js';
import { go, path, to } from '../ui/place.js';
import { AsOf } from '../ui/state.js';
import { Field, Trouble, useForm } from '../ui/field.js';
import { ListEnd, Search, useList, useOne } from '../ui/list.js';
import { confirm, Dialog } from '../ui/dialog.js';
import { CopyAs } from '../ui/copy.js';
import { failed } from '../ui/toast.js';
import { exact, uuid, when } from '../ui/text.js';
import { client, json, page, Problem } from '../live/api.js';
import { draft } from '../live/drafts.js';
import { useTopicState } from '../live/link.js';
import { may, me } from '../live/session.js';
import { Members, RoomSettings } from '../view/members.js';
import { Insights, useAnalysis } from '../view/insights.js';

const { div, h1, h2, p, ul, li, span, small, button, form, label, textarea, aside, article, time, mark } = tags;
/** @typedef {{ id: string, user_id: string, username: string, content: string | null, source?: string | null, created_at: string, edited_at?: string | null, redacted_at?: string | null, offset?: string | null }} Said */
const TYPING = 5000;

export default function Rooms() {
  const id = path.value[1] ?? null, list = useList('/api/rooms?limit=100'), words = useSignal(''), creating = useSignal(false);
  const wanted = words.value.toLowerCase(), rows = (list.items ?? []).filter((one) => `${one.name} ${one.description}`.toLowerCase().includes(wanted));
  return div({ class: `split ${id ? 'one' : ''}` },
    aside({ class: 'side', 'aria-label': 'Rooms' },
      div({ class: 'tools' }, h(Search, { label: 'Search rooms', value: words.value, set: (text) => { words.value = text; } }), button({ type: 'button', 'data-new': '', 'aria-keyshortcuts': 'n', onClick: () => { creating.value = true; } }, 'New')),
      ul({ class: 'rows' }, rows.map((one) => li({ key: one.id }, to(`rooms/${one.id}`, { 'data-row': '', 'aria-current': one.id === id ? 'page' : undefined }, span({ class: 'cut' }, one.name), one.unread && one.id !== id ? span({ class: 'state wait' }, `${one.unread} unread`) : one.visibility === 'private' ? small({ class: 'muted' }, 'private') : null)))),
      h(ListEnd, { list, empty: [p(null, 'No room yet.'), button({ type: 'button', onClick: () => { creating.value = true; } }, 'Create a room')] })),
    id ? h(Room, { key: id, id, changed: list.reload, left: () => { list.reload(); go('rooms', { replace: true }); } })
      : div({ class: 'talk' }, div({ class: 'scroll' }, div({ class: 'column empty tall' }, h1(null, 'Rooms'), p(null, 'Choose a room, or create one. Whoever is in it sees what is written at once, and what they missed when they come back.')))),
    creating.value ? h(NewRoom, { done: (made) => { creating.value = false; list.reload(); if (made) go(`rooms/${made}`); } }) : null);
}

/** @param {{ done: (id?: string) => void }} props */
function NewRoom({ done }) {
  const name = useSignal(''), description = useSignal(''), visibility = useSignal('public'), state = useForm();
  const create = async () => { const { id } = await json('/api/rooms', { body: { name: name.value.trim(), visibility: visibility.value, ...(description.value.trim() ? { description: description.value.trim() } : {}) } }); done(id); };
  return h(Dialog, { title: 'New room', onClose: () => done() }, form({ onSubmit: (event) => { event.preventDefault(); void state.run(create); } }, h2(null, 'New room'),
    h(Field, { name: 'name', label: 'Name', value: name.value, set: (value) => { name.value = value; }, required: true, autofocus: true, wrong: state.wrong('name') }),
    h(Field, { name: 'description', label: 'Description (optional)', value: description.value, set: (value) => { description.value = value; }, wrong: state.wrong('description') }),
    h(Field, { name: 'visibility', label: 'Who can enter', value: visibility.value, set: (value) => { visibility.value = value; }, choices: ['public', 'private'], words: { public: 'Every user', private: 'Only members' } }),
    state.says(), div({ class: 'buttons' }, button({ type: 'button', onClick: () => done() }, 'Cancel'), button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Create room'))));
}

/** @param {{ id: string, changed: () => void, left: () => void }} props */
function Room({ id, changed, left }) {
  const room = useOne(`/api/rooms/${id}`), said = useSignal(/** @type {Said[]} */ ([])), next = useSignal(/** @type {string | null} */ (null));
  const here = useSignal(/** @type {Map<string, string>} */ (new Map())), typing = useSignal(/** @type {Map<string, { name: string, until: number }>} */ (new Map())), gone = useSignal(''), problem = useSignal(/** @type {Problem | null} */ (null)), shown = useSignal(''), membership = useSignal(0);
  const analysis = useAnalysis(), box = useRef(/** @type {HTMLDivElement | null} */ (null)), following = useRef(true), marked = useRef('');
  const pin = () => requestAnimationFrame(() => { if (box.current && following.current) box.current.scrollTop = box.current.scrollHeight; });
  /** Adds or replaces messages by their id, in their order. */
  const put = (/** @type {Said[]} */ some) => { const all = new Map([...said.peek(), ...some].map((one) => [one.id, one])); said.value = [...all.values()].sort((a, b) => (a.id < b.id ? -1 : 1)); pin(); };
  const markRead = (/** @type {string | null | undefined} */ offset) => { if (offset && offset !== marked.current && !document.hidden && room.data?.role) { marked.current = offset; json(`/api/rooms/${id}/read`, { body: { offset }, key: false }).then(changed, () => {}); } };

  const read = async () => {
    try {
      const [now, got, { users }] = await Promise.all([json(`/api/rooms/${id}`), page(`/api/rooms/${id}/messages?limit=50`), json(`/api/rooms/${id}/users`)]);
      return () => { problem.value = null; room.set(now); membership.value += 1; put(got.items); next.value = got.next; markRead(got.items.at(-1)?.offset); here.value = new Map(users.map((/** @type {any} */ one) => [one.user_id, one.username])); };
    } catch (error) { return () => { problem.value = /** @type {Problem} */ (error); }; }
  };
  useTopicState(room.data ? `room:${id}` : null, read, (frames) => {
    for (const frame of frames) {
      const user = frame['user_id'], name = frame['username'];
      if (frame.event === 'message') {
        put([{ id: frame['message_id'], user_id: user, username: name, content: frame['content'], source: frame['source'] ?? null, created_at: frame.at ?? '', offset: frame.offset ?? null }]);
        typing.value = new Map([...typing.peek()].filter(([one]) => one !== user));
      }
      const change = (/** @type {Partial<Said>} */ fields) => { said.value = said.peek().map((one) => (one.id === frame['message_id'] ? { ...one, ...fields } : one)); };
      if (frame.event === 'message_edited') change({ content: frame['content'], edited_at: frame.at ?? '' });
      if (frame.event === 'message_redacted') change({ content: null, redacted_at: frame.at ?? '' });
      if (frame.event === 'user_joined') here.value = new Map([...here.peek(), [user, name]]);
      if (frame.event === 'user_left') here.value = new Map([...here.peek()].filter(([one]) => one !== user));
      if (frame.event === 'typing' && user !== me.peek()?.id) { const now = new Map(typing.peek()); if (frame['is_typing'] === false) now.delete(user); else now.set(user, { name, until: Date.now() + TYPING }); typing.value = now; }
      analysis.take(frame);
      if (frame.event === 'member') { membership.value += 1; room.reload(); }
      if (frame.event === 'room') { room.reload(); changed(); }
      if (frame.event === 'room_deleted') gone.value = 'This room was deleted.';
      if (frame.event === 'error' && !frame.offset) { if (frame['code'] === 'NOT_FOUND') gone.value = 'You are not a member of this room any more.'; else problem.value = new Problem(/** @type {any} */ (frame)); }
      if (frame.offset && frame.event === 'message') markRead(frame.offset);
    }
  });
  useEffect(() => { const timer = setInterval(() => { const now = new Map([...typing.peek()].filter(([, one]) => one.until > Date.now())); if (now.size !== typing.peek().size) typing.value = now; }, 1000); return () => clearInterval(timer); }, []);

  const failure = problem.value ?? room.problem;
  if (failure && !room.data) return div({ class: 'scroll' }, div({ class: 'empty' }, h1(null, 'Room'), h(Trouble, { problem: failure }), to('rooms', { class: 'button' }, 'All rooms')));
  if (!room.data) return div({ class: 'scroll' }, p({ class: 'muted', 'aria-busy': true }, 'Loading…'));
  const one = room.data, mayModerate = ['owner', 'moderator'].includes(one.role), names = [...typing.value.values()].map((user) => user.name);
  const remove = () => confirm({ title: 'Delete this room?', text: 'All its messages are deleted for good.', verb: 'Delete room', typed: one.name, run: async () => { await json(`/api/rooms/${id}`, { method: 'DELETE' }); left(); } });
  return div({ class: 'talk' },
    div({ class: 'talk-head' }, to('rooms', { class: 'narrow-only button', 'aria-label': 'All rooms' }, '‹'), h1({ class: 'cut' }, one.name), h(AsOf, null),
      span({ class: 'muted small-print cut', title: [...here.value.values()].join(', ') }, `${here.value.size} here: ${[...here.value.values()].slice(0, 6).join(', ')}`),
      one.role ? (one.role === 'owner' ? null : button({ type: 'button', class: 'quiet', onClick: () => { json(`/api/rooms/${id}/members`, { method: 'DELETE' }).then(left, failed); } }, 'Leave'))
        : button({ type: 'button', class: 'small', onClick: () => { json(`/api/rooms/${id}/members`, { method: 'POST' }).then(() => { room.reload(); changed(); }, failed); } }, 'Join'),
      button({ type: 'button', class: 'quiet', onClick: () => { shown.value = 'members'; } }, `Members (${one.members})`),
      one.role === 'owner' ? button({ type: 'button', class: 'quiet', onClick: () => { shown.value = 'settings'; } }, 'Change') : null,
      one.role === 'owner' || me.value?.role === 'admin' ? button({ type: 'button', class: 'quiet', onClick: remove }, 'Delete') : null),
    gone.value ? p({ class: 'note' }, gone.value) : null, failure ? h(Trouble, { problem: failure }) : null,
    div({ class: 'scroll', ref: box, tabIndex: 0, role: 'log', 'aria-label': `Messages in ${one.name}`, onScroll: (event) => { const b = event.currentTarget; following.current = b.scrollHeight - b.scrollTop - b.clientHeight < 48; } },
      div({ class: 'column' }, next.value ? button({ type: 'button', class: 'more', onClick: () => { const from = next.peek(); if (from) page(from).then((got) => { next.value = got.next; put(got.items); }, failed); } }, 'Earlier messages') : null,
        said.value.length ? said.value.map((message) => h(Message, { key: message.id, room: id, message, mayModerate })) : div({ class: 'empty' }, p(null, one.description || 'Nothing was written here yet.'), p({ class: 'muted' }, one.visibility === 'public' ? 'Every user finds this room under Rooms.' : 'Members are invited under “Members”.', may('admin') ? [' Somebody without an account needs one first: ', to('admin/users', { key: 'users' }, 'create a user'), '.'] : null)),
        h(CopyAs, { calls: [{ path: `/api/rooms/${id}/messages`, rpc: 'turnpike.chat.v1.RoomService/ListRoomMessages', message: { room_id: id }, port: 50052 }, { path: `/api/rooms/${id}/messages`, body: { content: 'Hello' }, rpc: 'turnpike.chat.v1.RoomService/PostMessage', message: { room_id: id, content: 'Hello' }, port: 50052 },
          { path: `/api/rooms/${id}/insights`, body: { metric: 'steps', data_points: [{ timestamp: Math.floor(Date.now() / 1000), value: 5000 }] } }, { path: `/api/topics/room:${id}/events?since=live`, stream: true }] }))),
    h(Insights, { analysis }),
    p({ class: 'typing muted', role: 'status' }, names.length ? `${names.slice(0, 3).join(', ')} ${names.length > 1 ? 'are' : 'is'} typing…` : ''),
    h(Composer, { id }),
    shown.value === 'members' ? h(Members, { room: one, changes: membership.value, done: () => { shown.value = ''; } }) : shown.value === 'settings' ? h(RoomSettings, { room: one, done: () => { shown.value = ''; room.reload(); changed(); } }) : null);
}

/** The text, in which the name of this user is marked. @param {string} text */
function named(text) {
  const name = `@${me.value?.username}`, parts = text.split(/(?<![\p{L}\p{N}])(@[\w.-]*\w)/u);
  return parts.length < 2 ? text : parts.map((part, at) => (at % 2 && part.toLowerCase() === name.toLowerCase() ? mark({ key: at }, part) : part));
}

const editing = signal(/** @type {string | null} */ (null));
/** @param {{ room: string, message: Said, mayModerate: boolean }} props */
function Message({ room, message: one, mayModerate }) {
  const own = one.user_id === me.value?.id, text = useSignal(one.content ?? ''), open = editing.value === one.id;
  const save = () => json(`/api/rooms/${room}/messages/${one.id}`, { method: 'PATCH', body: { content: text.value.trim() } }).then(() => { editing.value = null; }, failed);
  const redact = () => confirm({ title: 'Remove this message?', text: 'Its text is deleted for everybody.', verb: 'Remove', run: () => json(`/api/rooms/${room}/messages/${one.id}`, { method: 'DELETE' }) });
  return article({ class: `said-by ${own ? 'own' : ''}`, 'aria-label': `${one.username}, ${when(one.created_at)}`, 'data-id': one.id },
    div({ class: 'who' }, one.username, ' ', time({ class: 'muted', title: exact(one.created_at) }, when(one.created_at)), one.source?.startsWith('captions:') ? small({ class: 'muted' }, ' captions') : null, one.edited_at && one.content !== null ? small({ class: 'muted' }, ' edited') : null),
    open ? form({ onSubmit: (event) => { event.preventDefault(); void save(); } }, label({ class: 'hidden', for: `edit-${one.id}` }, 'Message'), textarea({ id: `edit-${one.id}`, value: text.value, onInput: (event) => { text.value = event.currentTarget.value; } }), div({ class: 'buttons' }, button({ type: 'button', onClick: () => { editing.value = null; } }, 'Cancel'), button({ type: 'submit', class: 'primary' }, 'Save')))
      : one.content === null || one.redacted_at ? p({ class: 'muted' }, 'This message was removed.') : div({ class: 'said' }, named(one.content)),
    !open && one.content !== null && (own || mayModerate) ? div({ class: 'actions' }, own ? button({ type: 'button', class: 'quiet', onClick: () => { text.value = one.content ?? ''; editing.value = one.id; } }, 'Edit') : null, button({ type: 'button', class: 'quiet', onClick: redact }, 'Remove')) : null);
}

/** @param {{ id: string }} props */
function Composer({ id }) {
  const text = draft(`room:${id}`), busy = useSignal(false), published = useRef(0), box = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => { if (matchMedia('(pointer: fine)').matches) box.current?.focus(); }, []);
  const publishTyping = (/** @type {boolean} */ is) => { if (is && Date.now() - published.current < 2500) return; published.current = is ? Date.now() : 0; client.publish(`room:${id}`, 'typing', { is_typing: is }).catch(() => {}); };
  const submit = async () => {
    const content = text.peek().trim();
    if (!content || busy.peek()) return;
    busy.value = true;
    try { await json(`/api/rooms/${id}/messages`, { body: { content }, key: uuid() }); text.value = ''; publishTyping(false); } catch (error) { failed(error); } finally { busy.value = false; }
  };
  return div({ class: 'composer' }, form({ onSubmit: (event) => { event.preventDefault(); void submit(); } }, label({ for: 'say', class: 'hidden' }, 'Message'),
    textarea({ id: 'say', ref: box, rows: 1, maxLength: 2000, placeholder: 'Write to the room; @name mentions', value: text.value, onInput: (event) => { text.value = event.currentTarget.value; publishTyping(text.peek() !== ''); }, onKeyDown: (event) => { if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); void submit(); } } }),
    div({ class: 'composer-end' }, small({ class: 'muted wide-only' }, 'Enter sends, Shift Enter breaks the line'), button({ type: 'submit', class: 'primary', 'aria-disabled': busy.value || !text.value.trim() }, busy.value ? 'Sending…' : 'Send'))));
}
