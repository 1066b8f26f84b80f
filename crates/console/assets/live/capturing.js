// The caption session to which this tab sends audio. Its code is fetched when captions are first used.
import { signal } from '../vendor/signals.js';

/** @typedef {import('../vendor/signals.js').Signal<number>} Level */
/** @typedef {{ id: string, kind: 'microphone' | 'file', sender: import('../capture/sender.js').Sender, level: Level, muted: import('../vendor/signals.js').Signal<boolean>, stopListening: () => void }} Capturing */
export const capturing = signal(/** @type {Capturing | null} */ (null));
