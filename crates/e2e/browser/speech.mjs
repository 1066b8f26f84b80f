// What the Rust test names in TURNPIKE_TEST_SPEECH: a speech model, and a recording with its words.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const given = JSON.parse(process.env['TURNPIKE_TEST_SPEECH'] ?? 'null');
if (!given) throw new Error('TURNPIKE_TEST_SPEECH is not set: run the tests `console_` of turnpike-e2e');
export const { model, said } = given;
/** Samples of 16 kHz, 16 bits and one channel. */
export const pcm = readFileSync(given.pcm);
export const folder = dirname(given.pcm);

const head = Buffer.alloc(44);
head.write('RIFF', 0); head.writeUInt32LE(36 + pcm.length, 4); head.write('WAVEfmt ', 8);
head.writeUInt32LE(16, 16); head.writeUInt16LE(1, 20); head.writeUInt16LE(1, 22); head.writeUInt32LE(16000, 24); head.writeUInt32LE(32000, 28); head.writeUInt16LE(2, 32); head.writeUInt16LE(16, 34);
head.write('data', 36); head.writeUInt32LE(pcm.length, 40);
/** The same as a WAV file. */
export const recording = join(folder, 'speech.wav');
writeFileSync(recording, Buffer.concat([head, pcm]));

export const words = (text) => text.toLowerCase().replaceAll('-', ' ').replace(/[^a-z' ]/g, ' ').split(/\s+/).filter(Boolean);
/** Edits for each word that was said. */
export function wordErrors(heard) {
  const a = words(said), b = words(heard), row = b.map((_, i) => i + 1);
  row.unshift(0);
  for (const word of a) {
    let diagonal = row[0]++;
    b.forEach((other, i) => { const cost = diagonal + Number(other !== word); diagonal = row[i + 1]; row[i + 1] = Math.min(cost, row[i] + 1, row[i + 1] + 1); });
  }
  return row[b.length] / a.length;
}
