// Audio on its way to a caption session. The server says which sample it wants next; after a cut, audio is sent again from there.
import { signal } from '../vendor/signals.js';
import { json, Problem } from '../live/api.js';

/** @typedef {{ first: number, end: number, begin: (sample: number) => void, forget: (before: number) => void, read: (from: number, count: number) => Int16Array }} Source */
/** Samples of one frame: half a second. */
const FRAME = 8000;
/** Bytes that wait in the browser before the next frame is made. */
const WAITING = 1 << 20;
/** The server acknowledges once a second. A connection that is silent for this long is dead. */
const SILENT = 15_000;

export class Sender {
  /** connecting, sending, waiting (the connection was cut), ended, replaced (by another tab) */
  state = signal(/** @type {'connecting' | 'sending' | 'waiting' | 'ended' | 'replaced'} */ ('connecting'));
  /** Samples that have arrived. */
  arrived = signal(0);
  /** Samples that were cut off and are not kept any more; the server got silence instead. */
  lost = signal(0);
  /** No more audio follows; the session ends when all has arrived. */
  finishing = signal(false);
  /** @type {WebSocket | null} */ #socket = null;
  /** The next sample for this connection; -1: the server has not said it yet. */
  #next = -1;
  #begun = false;
  #tries = 0;
  #ticket = false;
  #heard = 0;
  #ending = false;
  #timer = 0;
  #watch = 0;

  /** @param {string} id @param {Source} source @param {() => void} over Called once, when nothing more is sent. */
  constructor(id, source, over) {
    this.id = id;
    this.source = source;
    this.over = over;
    this.#watch = setInterval(() => { if (this.#next >= 0 && this.arrived.peek() < this.#next && Date.now() - this.#heard > SILENT) this.#socket?.close(); }, 1000);
    void this.#connect();
  }

  /** Sends what the source has got. */
  pump() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket || this.#next < 0) return;
    while (this.#next < this.source.end) {
      if (socket.bufferedAmount > WAITING) { this.#timer = setTimeout(() => this.pump(), 50); return; }
      const samples = this.source.read(this.#next, FRAME);
      socket.send(/** @type {ArrayBufferView<ArrayBuffer>} */ (samples)); // every browser's machine is little-endian
      this.#next += samples.length;
    }
    void this.#settle();
  }

  /** The audio is complete. */
  finish() {
    this.finishing.value = true;
    this.pump();
  }

  async #connect() {
    try {
      if (this.#tries++) {
        // A handshake that fails does not say why. This request waits for the server, and for a sign-in if the session has ended.
        const { status } = await json(`/api/captions/sessions/${this.id}/snapshot`);
        if (status === 'stopped') { this.#end('ended'); return; }
      }
      const protocols = this.#ticket ? ['turnpike.v1', `ticket.${(await json('/api/auth/tickets', { method: 'POST', key: false })).ticket}`] : [];
      if (this.#ended) return;
      this.#open(new WebSocket(`${location.origin.replace(/^http/, 'ws')}/ws/captions/${this.id}?since=live`, protocols));
    } catch (error) {
      if (error instanceof Problem && error.status === 404) this.#end('ended'); else this.#again();
    }
  }

  #open(/** @type {WebSocket} */ socket) {
    let opened = false;
    this.#socket = socket;
    socket.onopen = () => { opened = true; this.#heard = Date.now(); };
    socket.onmessage = ({ data }) => { if (this.#socket === socket) this.#receive(JSON.parse(data)); };
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#next = -1;
      this.#ticket = !opened && !this.#ticket; // as for the other socket: behind some proxies the cookie is not enough
      if (code === 1000) this.#end('ended'); else this.#again();
    };
  }

  #receive(/** @type {any} */ frame) {
    this.#heard = Date.now();
    if (frame.event === 'error' && !frame.offset) {
      if (frame.code === 'REPLACED') this.#end('replaced');
      if (frame.code === 'SESSION_ENDED') this.#end('ended');
      return;
    }
    if (frame.event !== 'ack') return;
    this.arrived.value = frame.samples;
    if (this.#next < 0) {
      if (!this.#begun) { this.#begun = true; this.source.begin(frame.samples); }
      this.lost.value += Math.max(0, this.source.first - frame.samples);
      this.#next = frame.samples;
      this.#tries = 1;
      this.state.value = 'sending';
    }
    // A service that was killed continues after its last stored words.
    this.source.forget(frame.stored_samples);
    this.pump();
  }

  /** Ends the session when all has arrived. */
  async #settle() {
    if (!this.finishing.peek() || this.#ending || !this.#begun || this.arrived.peek() < this.source.end) return;
    this.#ending = true;
    try {
      await json(`/api/captions/sessions/${this.id}`, { method: 'DELETE' });
    } catch (error) {
      // 504: the rest is still transcribed, and then the session ends.
      if (!(error instanceof Problem && [404, 409, 504].includes(error.status))) { this.#ending = false; setTimeout(() => void this.#settle(), 1000); return; }
    }
    this.#end('ended');
  }

  #again() {
    if (this.#ended) return;
    this.state.value = 'waiting';
    setTimeout(() => void this.#connect(), Math.min(5000, 250 * 2 ** Math.min(this.#tries, 5)) * (0.5 + Math.random() / 2));
  }

  get #ended() { return this.state.peek() === 'ended' || this.state.peek() === 'replaced'; }
  #end(/** @type {'ended' | 'replaced'} */ state) {
    if (this.#ended) return;
    this.state.value = state;
    clearInterval(this.#watch);
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.over();
  }
}
