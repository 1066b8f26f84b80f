// Audio by the number of its sample, so that it can be sent again from any of them.
export const RATE = 16000;
/** Audio of a microphone that is kept for sending it again: 10 minutes, 19 MB. */
const KEPT = 600 * RATE;
/** Samples that are converted without a pause. */
const PIECE = 1 << 18;

/** What a microphone has heard. The numbers of samples are those of the session. */
export class Heard {
  /** The first sample that is kept. */
  first = 0;
  /** The sample after the last one. */
  end = 0;
  /** @type {Int16Array[]} */ #pieces = [];

  /** The session continues at this sample with the first one that was heard. */
  begin(/** @type {number} */ sample) { this.first += sample; this.end += sample; }
  push(/** @type {Int16Array} */ samples) {
    this.#pieces.push(samples);
    this.end += samples.length;
    this.forget(this.end - KEPT);
  }
  /** Samples before this one are not needed again. */
  forget(/** @type {number} */ before) {
    let drop = 0;
    for (const piece of this.#pieces) { if (this.first + piece.length > before) break; this.first += piece.length; drop += 1; }
    if (drop) this.#pieces.splice(0, drop);
  }
  /** At most `count` samples from this one on. Those that are not kept are silence. @param {number} from @param {number} count */
  read(from, count) {
    if (from < this.first) return new Int16Array(Math.min(count, this.first - from));
    let at = this.first;
    for (const piece of this.#pieces) {
      if (from < at + piece.length) return piece.subarray(from - at, from - at + count);
      at += piece.length;
    }
    return new Int16Array(0);
  }
}

/** A recording, which is there from its first sample. */
export class Recorded {
  first = 0;
  constructor(/** @type {Int16Array} */ samples) { this.samples = samples; this.end = samples.length; }
  begin() {}
  forget() {}
  /** @param {number} from @param {number} count */
  read(from, count) { return this.samples.subarray(from, from + count); }
}

/** A file of audio or video, as 16 kHz and one channel. @param {File} file */
export async function decode(file) {
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  } catch { throw new Error(`This browser cannot read the sound of ${file.name}. WAV, MP3, Ogg, FLAC, MP4 and WebM work in most browsers.`); }
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i)), samples = new Int16Array(audio.length);
  for (let at = 0; at < samples.length; at += PIECE) {
    for (let i = at; i < Math.min(at + PIECE, samples.length); i++) {
      let sum = 0;
      for (const channel of channels) sum += /** @type {number} */ (channel[i]);
      samples[i] = Math.max(-32768, Math.min(32767, Math.round((sum / channels.length) * 32767)));
    }
    await new Promise((resolve) => { setTimeout(resolve); }); // the page stays usable
  }
  return new Recorded(samples);
}

/** How loud samples are, 0 to 1, as people hear it: -60 dB is 0. @param {Int16Array} samples */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / Math.max(1, samples.length)) / 32768;
  return Math.max(0, Math.min(1, 1 + Math.log10(rms + 1e-9) / 3));
}
