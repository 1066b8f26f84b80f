// Conversations with language models.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { useEffect, useMemo, useRef } from '../vendor/preact-hooks.js';
import { tags } from '../ui/tags.js';
import { go, path, to } from '../ui/place.js';
import { AsOf } from '../ui/state.js';
import { Trouble } from '../ui/field.js';
import { ListEnd, Search, useList } from '../ui/list.js';
import { confirm, Dialog } from '../ui/dialog.js';
import { copy, CopyAs } from '../ui/copy.js';
import { failed, toast } from '../ui/toast.js';
import { uuid } from '../ui/text.js';
import { json } from '../live/api.js';
import { draft } from '../live/drafts.js';
import { Talk } from '../view/talk.js';
import { Page, PAGE } from '../view/transcript.js';

const { div, h1, h2, p, ul, li, span, small, button, form, label, textarea, input, select, option, aside, mark } = tags;

export default function Chat() {
  const id = path.value[1] ?? null, list = useList('/api/chat/conversations?limit=50'), titles = useSignal(/** @type {Record<string, string>} */ ({}));
  const named = (/** @type {string} */ talk, /** @type {string} */ title) => {
    if (titles.peek()[talk] === title) return;
    titles.value = { ...titles.peek(), [talk]: title };
    if (!list.items?.some((one) => one.id === talk)) list.reload();
  };
  return div({ class: `split ${id ? 'one' : ''}` }, h(Conversations, { list, titles: titles.value, current: id }),
    id ? h(Conversation, { key: id, id, named, removed: () => { list.reload(); go('chat', { replace: true }); } }) : h(Fresh, { made: () => list.reload() }));
}

/** @param {{ list: import('../ui/list.js').Loaded, titles: Record<string, string>, current: string | null }} props */
function Conversations({ list, titles, current }) {
  const words = useSignal(''), found = useSignal(/** @type {any[] | null} */ (null));
  useEffect(() => {
    const wanted = words.value.trim();
    if (!wanted) { found.value = null; return undefined; }
    const wait = setTimeout(() => json(`/api/chat/search?${new URLSearchParams({ q: wanted })}`).then(({ results }) => { found.value = results; }, failed), 250);
    return () => clearTimeout(wait);
  }, [words.value]);
  return aside({ class: 'side', 'aria-label': 'Conversations' },
    div({ class: 'tools' }, h(Search, { label: 'Search messages', value: words.value, set: (text) => { words.value = text; } }), to('chat', { class: 'button', 'data-new': '', 'aria-keyshortcuts': 'n' }, 'New')),
    found.value
      ? ul({ class: 'rows' }, found.value.map((one, i) => li({ key: i }, to(`chat/${one.conversation_id}`, { 'data-row': '' }, span({ class: 'stack' }, span({ class: 'cut' }, one.conversation_title), small({ class: 'muted' }, marked(one)))))), found.value.length ? null : li({ class: 'empty' }, 'Nothing found.'))
      : ul({ class: 'rows' }, (list.items ?? []).map((one) => li({ key: one.id }, to(`chat/${one.id}`, { 'data-row': '', 'aria-current': one.id === current ? 'page' : undefined }, span({ class: 'cut' }, titles[one.id] ?? one.title)))), li(null, h(ListEnd, { list, empty: p(null, 'Your conversations appear here.') }))));
}
/** A search result with the words that were found. */
const marked = (/** @type {any} */ one) => {
  const all = [...one.message_snippet], out = [];
  let at = 0;
  for (const { start, length } of one.marks ?? []) { out.push(all.slice(at, start).join(''), mark(null, all.slice(start, start + length).join(''))); at = start + length; }
  return [...out, all.slice(at).join('')];
};

/** A new conversation begins with its first message. @param {{ made: () => void }} props */
function Fresh({ made }) {
  const ask = async (/** @type {string} */ content, /** @type {string | undefined} */ model, /** @type {string} */ key) => {
    const { id } = await json('/api/chat/conversations', { method: 'POST', key });
    const talk = new Talk(id);
    await talk.ask({ content, ...(model ? { model } : {}) }, uuid()).finally(() => talk.close());
    made();
    go(`chat/${id}`);
  };
  return div({ class: 'talk' }, div({ class: 'scroll' }, div({ class: 'column empty tall' }, h1(null, 'New conversation'), p(null, 'Ask something. The answer streams here and to your other tabs; it is kept when the connection breaks or this page is closed.'))),
    h(Composer, { place: 'chat:new', ask, running: false, stop: () => {} }));
}

/** @param {{ id: string, named: (id: string, title: string) => void, removed: () => void }} props */
function Conversation({ id, named, removed }) {
  const talk = useMemo(() => new Talk(id), [id]), renaming = useSignal(false);
  useEffect(() => () => talk.close(), [talk]);
  const box = useRef(/** @type {HTMLDivElement | null} */ (null)), column = useRef(/** @type {HTMLDivElement | null} */ (null)), top = useRef(/** @type {HTMLDivElement | null} */ (null));
  const following = useSignal(true), root = useSignal(/** @type {HTMLElement | null} */ (null)), editing = draft(`edit:${id}`);
  const pin = () => { if (box.current && following.peek()) box.current.scrollTop = box.current.scrollHeight; };
  useEffect(() => {
    root.value = box.current;
    const grown = new ResizeObserver(pin);
    if (box.current) grown.observe(box.current);
    if (column.current) grown.observe(column.current);
    return () => grown.disconnect();
  }, []);
  useEffect(() => { if (talk.title.value) named(id, talk.title.value); }, [talk.title.value]);
  useEffect(() => { // earlier messages are loaded when the reader comes near them; what is on the screen stays where it is
    if (!talk.next.value || !top.current || !root.value) return undefined;
    const eye = new IntersectionObserver(async ([seen]) => {
      if (!seen?.isIntersecting) return;
      eye.disconnect();
      const height = box.current?.scrollHeight ?? 0, at = box.current?.scrollTop ?? 0;
      await talk.earlier().catch(failed);
      requestAnimationFrame(() => { if (box.current && !following.peek() && Math.abs(box.current.scrollTop - at) < 4) box.current.scrollTop = at + box.current.scrollHeight - height; });
    }, { root: root.value, rootMargin: '600px 0px 0px' });
    eye.observe(top.current);
    return () => eye.disconnect();
  }, [talk.next.value, root.value]);

  const settle = () => setTimeout(() => { const b = box.current; if (b) following.value = b.scrollHeight - b.scrollTop - b.clientHeight < 48; }, 60);
  const model = draft('chat:model');
  const actions = useMemo(() => ({
    versions: (/** @type {any} */ message, /** @type {number} */ step) => { talk.version(message, step).catch(failed); },
    again: (/** @type {any} */ message) => { following.value = true; talk.again(message.id, model.peek() || undefined).catch(failed); },
    edit: (/** @type {any} */ message) => { editing.value = JSON.stringify({ id: message.id, content: message.content }); },
    copy: (/** @type {string} */ text) => { void copy(text); },
  }), [talk]);
  if (talk.problem.value) return div({ class: 'scroll' }, div({ class: 'empty' }, h1(null, 'Conversation'), h(Trouble, { problem: talk.problem.value }), to('chat', { class: 'button' }, 'New conversation')));

  const messages = talk.messages.value, older = talk.older.value, pages = new Map();
  messages.forEach((message, i) => { const number = Math.floor((i - older) / PAGE); pages.set(number, [...(pages.get(number) ?? []), message]); });
  const last = Math.floor((messages.length - 1 - older) / PAGE), edited = editing.value ? JSON.parse(editing.value) : null;
  const remove = () => confirm({ title: 'Delete this conversation?', text: `“${talk.title.value}” and all its messages are deleted for good.`, verb: 'Delete', run: async () => { await json(`/api/chat/conversations/${id}`, { method: 'DELETE' }); removed(); } });
  return div({ class: 'talk' },
    div({ class: 'talk-head' }, to('chat', { class: 'narrow-only button', 'aria-label': 'All conversations' }, '‹'), h1({ class: 'cut' }, talk.title.value || 'Conversation'), h(AsOf, null),
      button({ type: 'button', class: 'quiet', onClick: () => { renaming.value = true; } }, 'Rename'), button({ type: 'button', class: 'quiet', onClick: remove }, 'Delete')),
    talk.deleted.value ? p({ class: 'note' }, 'This conversation was deleted in another tab.') : null,
    talk.notice.value ? p({ class: 'note' }, talk.notice.value) : null,
    div({ class: 'scroll', ref: box, tabIndex: 0, role: 'region', 'aria-label': 'Messages',
      onWheel: (event) => { if (event.deltaY < 0) following.value = false; else settle(); },
      onKeyDown: (event) => { if (['PageUp', 'ArrowUp', 'Home'].includes(event.key)) following.value = false; if (['PageDown', 'ArrowDown', 'End'].includes(event.key)) settle(); },
      onTouchMove: settle, onPointerDown: (event) => { if (event.target === event.currentTarget) { following.value = false; settle(); } } },
    div({ class: 'column', ref: column },
      div({ ref: top, class: 'top-end' }, talk.next.value ? p({ class: 'muted' }, 'Loading earlier messages…') : null),
      root.value ? [...pages].map(([number, some]) => h(Page, { key: number, messages: some, root: root.value, actions, growing: number === last ? talk.growing.value : null, last: number >= last - 1 })) : null,
      talk.ready.value && !messages.length ? p({ class: 'empty' }, 'No message yet.') : null,
      h(CopyAs, { calls: [{ path: `/api/chat/conversations/${id}`, rpc: 'turnpike.chat.v1.ConversationService/GetConversation', message: { conversation_id: id }, port: 50052 }, { path: `/api/topics/conversation:${id}/events?since=start`, stream: true }, { path: `/api/chat/conversations/${id}/messages`, body: { content: 'Your question' }, stream: true }] }))),
    span({ class: 'hidden', role: 'status' }, talk.running ? 'The model answers' : messages.length && talk.ready.value ? 'The answer is complete' : ''),
    following.value ? null : button({ type: 'button', class: 'jump', onClick: () => { following.value = true; pin(); } }, '↓ Latest'),
    h(Composer, { place: `chat:${id}`, edited, unedit: () => { editing.value = ''; }, running: Boolean(talk.running), stop: () => { talk.stop().catch(failed); },
      ask: async (content, chosen, key) => { following.value = true; await talk.ask({ content, ...(chosen ? { model: chosen } : {}), ...(edited ? { edit_of: edited.id } : {}) }, key); editing.value = ''; pin(); } }),
    renaming.value ? h(Rename, { id, title: talk.title.value, done: () => { renaming.value = false; } }) : null);
}

/** @param {{ id: string, title: string, done: () => void }} props */
function Rename({ id, title, done }) {
  const name = useSignal(title);
  return h(Dialog, { title: 'Rename', onClose: done }, form({ onSubmit: (event) => { event.preventDefault(); json(`/api/chat/conversations/${id}`, { method: 'PATCH', body: { title: name.value.trim() } }).then(done, failed); } },
    h2(null, 'Rename the conversation'), div({ class: 'field' }, label({ for: 'title' }, 'Title'), input({ id: 'title', type: 'text', value: name.value, maxLength: 200, required: true, onInput: (event) => { name.value = event.currentTarget.value; } })),
    div({ class: 'buttons' }, button({ type: 'button', onClick: done }, 'Cancel'), button({ type: 'submit', class: 'primary' }, 'Rename'))));
}

/** @typedef {{ place: string, ask: (content: string, model: string | undefined, key: string) => Promise<void>, running: boolean, stop: () => void, edited?: any, unedit?: () => void }} ComposerProps */
/** @param {ComposerProps} props */
function Composer({ place, ask, running, stop, edited, unedit }) {
  const text = draft(edited ? `${place}:edit:${edited.id}` : place), model = draft('chat:model'), models = useList('/api/chat/models'), busy = useSignal(false), box = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => { if (edited) { if (!text.peek()) text.value = edited.content; box.current?.focus(); } else if (matchMedia('(pointer: fine)').matches) box.current?.focus(); }, [edited?.id]);
  const submit = async () => {
    const content = text.peek().trim();
    if (!content || busy.peek()) return;
    if (running) { toast('The model still answers. Stop it first, or wait.'); return; }
    busy.value = true;
    // The draft is deleted only after the server has accepted the message.
    try { await ask(content, models.items?.some((one) => one.id === model.peek()) ? model.peek() : undefined, uuid()); if (text.peek().trim() === content) text.value = ''; } catch (error) { failed(error); } finally { busy.value = false; }
  };
  const names = (models.items ?? []).map((one) => one.id);
  return div({ class: 'composer' }, form({ onSubmit: (event) => { event.preventDefault(); void submit(); } },
    edited ? p({ class: 'note edit-note' }, 'Editing a message: the new version gets its own answer. ', button({ type: 'button', class: 'quiet', onClick: () => { text.value = ''; unedit?.(); } }, 'Cancel')) : null,
    label({ for: 'say', class: 'hidden' }, 'Message'),
    textarea({ id: 'say', ref: box, rows: 1, placeholder: 'Ask something', value: text.value, 'aria-describedby': 'say-keys', onInput: (event) => { text.value = event.currentTarget.value; },
      onKeyDown: (event) => { if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); void submit(); } if (event.key === 'Escape' && edited) unedit?.(); } }),
    div({ class: 'composer-end' },
      names.length > 1 ? [label({ for: 'model', class: 'hidden' }, 'Model'), select({ id: 'model', value: model.value, onChange: (event) => { model.value = event.currentTarget.value; } }, option({ value: '' }, 'Default model'), names.map((name) => option({ key: name, value: name }, name)))] : small({ class: 'muted cut' }, names[0] ?? ''),
      small({ id: 'say-keys', class: 'muted wide-only' }, 'Enter sends, Shift Enter breaks the line'),
      running ? button({ type: 'button', class: 'danger', onClick: stop }, 'Stop') : button({ type: 'submit', class: 'primary', 'aria-disabled': busy.value || !text.value.trim() }, busy.value ? 'Sending…' : 'Send'))));
}
