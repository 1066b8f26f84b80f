// One conversation as this tab knows it: the stored messages, and the events of its topic after them.
import { signal, batch } from '../vendor/signals.js';
import { json, page, send } from '../live/api.js';
import { follow, followState } from '../live/link.js';
import { Growing } from './markdown.js';

/** @typedef {import('./transcript.js').Message} Message */
/** @typedef {import('../client/turnpike.js').Frame} Frame */

export class Talk {
  messages = signal(/** @type {Message[]} */ ([]));
  title = signal('');
  /** Messages that were loaded before the first page. */ older = signal(0);
  next = signal(/** @type {string | null} */ (null));
  growing = signal(/** @type {{ id: string, view: any } | null} */ (null));
  problem = signal(/** @type {Error | null} */ (null));
  notice = signal('');
  deleted = signal(false);
  ready = signal(false);
  #text = new Growing();
  #stop = () => {};

  constructor(/** @type {string} */ id) {
    this.id = id;
    this.#begin();
  }
  close() { this.#stop(); }
  get running() { const last = this.messages.value.at(-1); return last?.state === 'generating' ? last : null; }

  #begin() {
    this.#stop();
    this.#stop = followState(`conversation:${this.id}`, () => this.#read(), (frames) => this.#take(frames)).stop;
  }

  async #read() {
    try {
      const response = await send(`/api/chat/conversations/${this.id}`), body = await response.json();
      const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1] ?? null;
      return () => this.#put(body, next);
    } catch (error) { return () => { this.problem.value = /** @type {Error} */ (error); }; }
  }

  #put(/** @type {{ conversation: { title: string }, messages: Message[] }} */ { conversation, messages }, /** @type {string | null} */ next) {
    this.title.value = conversation.title;
    this.messages.value = messages;
    this.older.value = 0;
    this.next.value = next;
    this.problem.value = null;
    this.ready.value = true;
    this.growing.value = null;
    const open = messages.find((one) => one.state === 'generating');
    if (!open) return;
    // The answer began before this tab followed the topic: its events are taken from the start of the topic.
    this.#grow(open.id);
    this.#stop();
    this.#stop = follow(`conversation:${this.id}`, (frames) => this.#take(frames), 'start');
  }

  async earlier() {
    const from = this.next.peek();
    if (!from) return;
    this.next.value = null;
    const { items, next } = await page(from);
    batch(() => { this.messages.value = [...items, ...this.messages.peek()]; this.older.value += items.length; this.next.value = next; });
  }

  #grow(/** @type {string} */ id) { this.#text = new Growing(); this.growing.value = { id, view: [] }; }
  #change(/** @type {string} */ id, /** @type {Partial<Message>} */ fields) { this.messages.value = this.messages.peek().map((one) => (one.id === id ? { ...one, ...fields } : one)); }
  /** Whether an answer is known to have ended, so that its events are old. */
  #over(/** @type {string} */ id) { const one = this.messages.peek().find((message) => message.id === id); return one && one.state !== 'generating'; }

  #take(/** @type {Frame[]} */ frames) {
    let deltas = '', reload = false;
    const flush = () => { const now = this.growing.peek(); if (deltas && now) this.growing.value = { id: now.id, view: this.#text.push(deltas) }; deltas = ''; };
    for (const frame of frames) {
      const id = /** @type {string} */ (frame['message_id']);
      if (frame.event === 'started' && !this.#over(id)) { flush(); this.#started(frame, id); }
      if (frame.event === 'delta' && this.growing.peek()?.id === id) deltas += frame['content'] ?? '';
      if ((frame.event === 'message' || (frame.event === 'error' && frame.offset)) && !this.#over(id)) { flush(); this.#ended(frame, id); }
      if (frame.event === 'conversation') {
        this.title.value = frame['title'];
        const leaf = frame['leaf_message_id'], last = this.messages.peek().at(-1);
        if (leaf && last && last.id !== leaf && last.state !== 'generating') reload = true;
      }
      if (frame.event === 'conversation_deleted') this.deleted.value = true;
      if (frame.event === 'reset') { this.notice.value = 'The server no longer has all events. The stored messages were loaded again.'; reload = true; }
    }
    flush();
    if (reload) this.#begin();
  }

  #started(/** @type {Frame} */ frame, /** @type {string} */ id) {
    const asked = frame['user_message'], all = this.messages.peek(), known = all.find((one) => one.id === id);
    const until = (/** @type {string | null} */ parent) => { const at = all.findIndex((one) => one.id === parent); return parent === null ? [] : at < 0 ? all : all.slice(0, at + 1); };
    if (frame['title']) this.title.value = frame['title'];
    if (!known) {
      const sibling = (/** @type {string | null} */ parent, /** @type {string} */ role) => all.find((one) => one.parent_id === parent && one.role === role)?.versions ?? 0;
      const before = asked ? until(asked.parent_id ?? null) : until(frame['parent_id']);
      const versions = sibling(frame['parent_id'], 'assistant') + 1;
      const answer = /** @type {Message} */ ({ id, parent_id: frame['parent_id'], role: 'assistant', content: '', state: 'generating', version: versions, versions, created_at: frame.at ?? '' });
      const said = asked ? sibling(asked.parent_id ?? null, 'user') + 1 : 0;
      const question = asked ? [/** @type {Message} */ ({ id: asked.id, parent_id: asked.parent_id ?? null, role: 'user', content: asked.content, state: 'complete', version: said, versions: said, created_at: frame.at ?? '' })] : [];
      this.messages.value = [...before.filter((one) => one.id !== asked?.id), ...question, answer];
    }
    this.#grow(id);
  }

  #ended(/** @type {Frame} */ frame, /** @type {string} */ id) {
    const whole = frame.event === 'message';
    this.#change(id, {
      state: whole ? (frame['finish_reason'] === 'stopped' ? 'stopped' : 'complete') : frame['error_code'] === 'INTERRUPTED' ? 'interrupted' : 'error',
      content: whole ? frame['content'] : this.growing.peek()?.id === id ? this.#text.source : '',
      ...(whole ? { model: frame['model'], finish_reason: frame['finish_reason'], usage: frame['usage'], timing: frame['timing'], reasoning_content: frame['reasoning_content'] ?? '' } : { error_message: frame['error_message'] }),
    });
    if (this.growing.peek()?.id === id) this.growing.value = null;
  }

  /** The stream of the response is not needed: the topic has the same events for every tab. @param {string} path @param {unknown} body @param {string} [key] */
  async #post(path, body, key) { const response = await send(`/api/chat/conversations/${this.id}${path}`, { body, ...(key ? { key } : {}) }); await response.body?.cancel(); }
  /** @param {{ content: string, model?: string, edit_of?: string }} message @param {string} key */
  ask(message, key) { return this.#post('/messages', message, key); }
  /** @param {string} message @param {string | undefined} model */
  again(message, model) { return this.#post(`/messages/${message}/regenerate`, model ? { model } : {}); }
  stop() { return json(`/api/chat/conversations/${this.id}/stop`, { method: 'POST' }); }

  /** Shows the version before or after this one. @param {Message} message @param {number} step */
  async version(message, step) {
    const version = message.version + step;
    if (version < 1 || version > message.versions) return;
    await json(`/api/chat/conversations/${this.id}/messages/${message.id}/select?version=${version}`, { method: 'POST' });
    this.#begin();
  }
}
