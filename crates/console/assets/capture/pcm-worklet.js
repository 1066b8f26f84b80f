// Samples of a microphone as 16 kHz PCM16, 100 ms a message. A low pass comes first: sound above 8 kHz would otherwise become noise
// within speech.
const RATE = 16000, TAPS = 63;

class Pcm extends AudioWorkletProcessor {
  constructor() {
    super();
    this.step = sampleRate / RATE;
    const edge = Math.min(0.5, 0.46 / this.step), middle = (TAPS - 1) / 2;
    this.filter = Float32Array.from({ length: TAPS }, (_, i) => {
      const x = i - middle, window = 0.54 - 0.46 * Math.cos((2 * Math.PI * i) / (TAPS - 1));
      return window * (x === 0 ? 2 * edge : Math.sin(2 * Math.PI * edge * x) / (Math.PI * x));
    });
    this.heard = new Float32Array(0); // what the filter still needs
    this.at = 0;
    this.out = new Int16Array(RATE / 10);
    this.filled = 0;
  }

  process([input]) {
    const fresh = input?.[0];
    if (!fresh) return true;
    const all = new Float32Array(this.heard.length + fresh.length);
    all.set(this.heard);
    all.set(fresh, this.heard.length);
    for (; Math.floor(this.at) + TAPS <= all.length; this.at += this.step) {
      const from = Math.floor(this.at);
      let sum = 0;
      for (let i = 0; i < TAPS; i++) sum += all[from + i] * this.filter[i];
      this.out[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sum * 32767)));
      if (this.filled === this.out.length) { this.port.postMessage(this.out.slice()); this.filled = 0; }
    }
    const used = Math.min(Math.floor(this.at), all.length);
    this.heard = all.slice(used);
    this.at -= used;
    return true;
  }
}
registerProcessor('pcm', Pcm);
