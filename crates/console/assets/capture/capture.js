// Starts to send audio to a session: from the microphone, or from a file.
import { signal } from '../vendor/signals.js';
import { capturing } from '../live/capturing.js';
import { json } from '../live/api.js';
import { toast } from '../ui/toast.js';
import { listen } from './microphone.js';
import { decode, Heard, loudness } from './samples.js';
import { Sender } from './sender.js';

/** A tab that is closed would lose what the server does not have yet. */
const warn = (/** @type {Event} */ event) => event.preventDefault();
const opened = async (/** @type {object} */ body) => (await json('/api/captions/sessions', { method: 'POST', body })).session_id;

/** @param {string} id @param {import('./sender.js').Source} source @param {'microphone' | 'file'} kind @param {() => void} stop */
function begin(id, source, kind, stop) {
  const sender = new Sender(id, source, () => {
    stop();
    removeEventListener('beforeunload', warn);
    capturing.value = null;
    if (sender.state.peek() === 'replaced') toast('Another tab sends the audio of this session now.');
  });
  addEventListener('beforeunload', warn);
  capturing.value = { id, kind, sender, level: signal(0), muted: signal(false), stopListening: stop };
  return id;
}

/** Captions of what the microphone hears, in a new session or one that waits for audio. @param {string} [session] @param {object} [options] Of a new session. @returns {Promise<string>} The session's id. */
export async function fromMicrophone(session, options = {}) {
  const heard = new Heard();
  const stop = await listen((samples) => {
    const now = capturing.peek();
    if (now?.muted.peek()) samples.fill(0); // silence keeps the session alive, and its times true
    heard.push(samples);
    if (now?.sender.source !== heard) return;
    now.level.value = loudness(samples);
    now.sender.pump();
  }, () => { if (capturing.peek()?.sender.source === heard) { toast('The microphone is gone.', { bad: true }); finish(); } });
  try { return begin(session ?? await opened(options), heard, 'microphone', stop); } catch (error) { stop(); throw error; }
}

/** Captions of a file. A session that waits for audio gets the samples that it does not have. @param {File} file @param {string} [session] @param {object} [options] Of a new session. @returns {Promise<string>} */
export async function fromFile(file, session, options = {}) {
  const recorded = await decode(file), id = begin(session ?? await opened(options), recorded, 'file', () => {});
  finish();
  return id;
}

/** No more audio: the session ends when all that was heard has arrived. */
export function finish() {
  const now = capturing.peek();
  now?.stopListening();
  now?.sender.finish();
}
