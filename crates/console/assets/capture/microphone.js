// The microphone: 16 kHz PCM16, 100 ms at a time.

/** Why there is no microphone, in words. @param {unknown} error */
function reason(error) {
  const name = error instanceof Error ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'This page may not use the microphone. Allow it in the browser, next to the address, and try again.';
  if (name === 'NotFoundError') return 'This device has no microphone. Caption a file instead.';
  if (name === 'NotReadableError') return 'Another program uses the microphone. Close it, and try again.';
  return `The microphone cannot be used: ${error instanceof Error ? error.message : error}`;
}

/** How long a context of audio may take to start; it waits for a click of the user. */
const START = 3000;

/** Listens until `stop`. `lost` is called when the device is gone. @param {(samples: Int16Array) => void} take @param {() => void} lost @returns {Promise<() => void>} */
export async function listen(take, lost) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error('Browsers give the microphone only to pages over HTTPS, or from this machine (localhost). Open the console there, or caption a file.');
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
  } catch (error) { throw new Error(reason(error)); }
  const context = new AudioContext();
  const stop = () => { for (const track of stream.getTracks()) track.stop(); void context.close(); };
  try {
    await context.audioWorklet.addModule(new URL('./pcm-worklet.js', import.meta.url).href);
    await Promise.race([context.resume(), new Promise((_, reject) => { setTimeout(() => reject(new Error('the browser did not start it')), START); })]);
  } catch (error) { stop(); throw new Error(reason(error)); }
  const pcm = new AudioWorkletNode(context, 'pcm', { numberOfInputs: 1, numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
  pcm.port.onmessage = ({ data }) => take(data);
  context.createMediaStreamSource(stream).connect(pcm);
  for (const track of stream.getTracks()) track.onended = lost;
  return stop;
}
