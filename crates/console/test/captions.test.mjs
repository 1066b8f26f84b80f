// Captions in a real browser, with the real speech model: from a file, and from a microphone that plays a recording. The Rust test
// `console_captions` names both.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Proxy, Turnpike, eventually, signIn } from '../../e2e/browser/harness.mjs';
import { fitsAndIsAccessible, launch, live, visitor } from '../../e2e/browser/browser.mjs';
import { folder, model, pcm, recording, wordErrors, words } from '../../e2e/browser/speech.mjs';

const HOSTILE = '<img src=x onerror=window.__hit=1><script>window.__hit=1</script>';
let server, browser, admin, proxy;

const lines = (page) => page.locator('.cue[data-segment] > span').allInnerTexts();
const heard = async (page) => (await lines(page)).join(' ');
const sessionOf = (page) => eventually('the session', () => /\/captions\/([0-9a-f-]{36})/.exec(page.url())?.[1]);
const ended = (page) => page.waitForSelector('.cues[data-state=stopped]', { timeout: 120_000 });
const withMicrophone = (file = recording) => launch([`--use-file-for-fake-audio-capture=${file}%noloop`]);

before(async () => {
  server = await new Turnpike({ TURNPIKE_CAPTIONS_MODEL: model }).ready();
  proxy = await Proxy.to(server.url);
  admin = await signIn(server.url);
  browser = await launch();
});
after(async () => { await browser?.close(); proxy?.close(); await server?.end(); });

test('a file becomes lines with times, and VTT, SRT and text that players read (24)', async () => {
  const { signIn: enter, open, faults, context } = await visitor(browser, server.url), page = await enter();
  await page.click('text=Caption a file');
  await page.setInputFiles('input[type=file]', recording);
  const id = await sessionOf(page);
  await ended(page);
  const shown = await lines(page);
  assert.ok(shown.length >= 2 && wordErrors(shown.join(' ')) <= 0.15, shown.join('\n'));
  const times = await page.locator('.cue[data-segment] > time').allInnerTexts();
  assert.deepEqual([times[0], [...times].sort()], ['0:00', times]);
  assert.equal((await admin.get(`/api/captions/sessions/${id}/snapshot`)).samples, pcm.length / 2, 'the whole file arrived once');

  const download = async (name) => { const [file] = await Promise.all([page.waitForEvent('download'), page.click(`.files >> text=${name}`)]); return { name: file.suggestedFilename(), text: readFileSync(await file.path(), 'utf8') }; };
  const vtt = await download('WebVTT'), srt = await download('SRT'), text = await download('Text');
  assert.ok(vtt.name.endsWith('.vtt') && srt.name.endsWith('.srt') && text.name.endsWith('.txt'));
  assert.deepEqual(text.text.trim().split('\n'), shown);
  // The browser's own parser of WebVTT.
  const cues = await page.evaluate((session) => new Promise((resolve, reject) => {
    const video = document.createElement('video'), track = document.createElement('track');
    track.src = `/api/captions/sessions/${session}/captions.vtt`;
    track.onload = () => { resolve([...track.track.cues].map((cue) => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent])); video.remove(); };
    track.onerror = () => reject(new Error('not WebVTT'));
    video.append(track);
    document.body.append(video);
    track.track.mode = 'hidden';
  }), id);
  assert.ok(cues.length >= 2 && cues.every(([start, end], i) => end > start && (i === 0 || start >= cues[i - 1][1])), JSON.stringify(cues));
  assert.equal(words(cues.map((cue) => cue[2]).join(' ')).join(' '), words(shown.join(' ')).join(' '));
  const blocks = srt.text.trim().split('\n\n');
  assert.equal(blocks.length, cues.length);
  blocks.forEach((block, i) => assert.match(block, new RegExp(`^${i + 1}\\n\\d\\d:\\d\\d:\\d\\d,\\d{3} --> \\d\\d:\\d\\d:\\d\\d,\\d{3}\\n.+`)));

  const other = await open(`captions/${id}`);
  await ended(other);
  assert.deepEqual(await lines(other), shown, 'a link to the session shows the same');
  await page.locator('.rows a[aria-current=page]:has-text("lines")').waitFor();
  await page.hover('.cue[data-segment]');
  await page.click('[aria-label="Correct line 1"]');
  await page.fill('.cue textarea', HOSTILE);
  await page.click('.cue >> text=Save');
  await page.waitForSelector('.cue:has-text("corrected")');
  await other.reload(); // the topic of a session that has ended has no more events
  await other.waitForSelector('.cue:has-text("corrected")');
  for (const one of [page, other]) {
    assert.ok((await lines(one))[0].includes(HOSTILE));
    assert.deepEqual(await one.evaluate(() => [window.__hit, document.querySelectorAll('.cue :is(img, script)').length]), [undefined, 0]);
  }
  await other.close();
  await fitsAndIsAccessible(page, `captions/${id}`);
  await page.click('.side >> text=New');
  await page.waitForSelector('text=Use the microphone');
  await fitsAndIsAccessible(page, 'captions');
  assert.deepEqual(faults, []);
  await context.close();
});

test('lines are written into a room, labelled, and found by their words', async () => {
  const { id: room } = await admin.post('/api/rooms', { name: 'Workshop' });
  const { signIn: enter, open, faults, context } = await visitor(browser, server.url), page = await enter('captions');
  await page.selectOption('select[name=room_id]', { label: 'Workshop' });
  await page.setInputFiles('input[type=file]', recording);
  const id = await sessionOf(page);
  await ended(page);
  const shown = await lines(page);
  await page.click('.cues ~ .note >> text=a room');
  await page.waitForURL(`**/console/rooms/${room}`);
  const said = page.locator('.said-by:has(.who :text-is("captions")) .said');
  await eventually('every line in the room', async () => (await said.count()) === shown.length || undefined);
  assert.deepEqual(await said.allInnerTexts(), shown);
  const other = await open('captions'), word = words(shown.at(-1)).sort((x, y) => y.length - x.length)[0];
  await other.fill('#search', word);
  await other.click(`.rows a[href$="captions/${id}"]:has-text("${word}")`);
  await ended(other);
  assert.deepEqual(await lines(other), shown);
  await other.fill('#search', 'xyzzy');
  await other.waitForSelector('text=No line has these words.');
  assert.deepEqual(faults, []);
  await context.close();
});

test('the microphone: settled words stay, and no word is lost when the connection is cut and the server is killed (24)', async () => {
  const own = await withMicrophone(), { signIn: enter, open, faults, context } = await visitor(own, proxy.url, { permissions: ['microphone'] }), page = await enter('captions');
  page.on('dialog', (dialog) => void dialog.accept());
  await live(page);
  // Every settled word of a line is a beginning of what is settled later.
  await page.evaluate(() => {
    window.__settled = {};
    window.__taken = [];
    new MutationObserver(() => {
      const line = document.querySelector('[data-live]'), words = line?.querySelector('.committed')?.textContent ?? '', at = line?.querySelector('time')?.textContent ?? '';
      if (window.__settled[at] && !words.startsWith(window.__settled[at])) window.__taken.push([window.__settled[at], words]);
      if (words) window.__settled[at] = words;
    }).observe(document.getElementById('app'), { subtree: true, childList: true, characterData: true });
  });
  await page.click('text=Use the microphone');
  const id = await sessionOf(page);
  await page.waitForSelector('[data-capture=sending]');
  await page.waitForSelector('header >> text=Microphone on');
  await page.waitForFunction(() => document.querySelector('meter')?.value > 0.2);
  await page.waitForSelector('[data-live]');
  proxy.refusing = true;
  proxy.cut();
  await page.waitForSelector('[data-capture=waiting]');
  proxy.refusing = false;
  await page.waitForSelector('[data-capture=sending]');
  // The server is killed with a sentence that nobody has stored yet, and its topics are gone with it.
  await page.waitForSelector('.cue[data-segment]');
  await page.waitForSelector('[data-live], .cue[data-segment="2"]'); // a slow machine may have it whole at once
  await server.kill();
  await page.waitForSelector('[data-capture=waiting]');
  await server.ready();
  await page.waitForSelector('[data-capture=sending]', { timeout: 60_000 });
  const other = await open(`captions/${id}`);
  await eventually('every word', async () => { const text = await heard(page); return wordErrors(text) <= 0.25 || undefined; }, 60);
  await other.waitForSelector('text=Another tab sends the sound');
  await page.click('text=Stop');
  await Promise.all([ended(page), ended(other)]);
  assert.deepEqual(await lines(page), await lines(other));
  assert.ok(wordErrors(await heard(page)) <= 0.25, await heard(page));
  assert.deepEqual(await page.evaluate(() => window.__taken), []);
  assert.ok(await page.evaluate(() => Object.keys(window.__settled).length) > 0, 'settled words were shown while they were spoken');
  assert.equal(await page.locator('header >> text=Microphone on').count(), 0);
  assert.deepEqual(faults, []);
  await own.close();
});

test('pause, resume, end the line; after a reload the session goes on with new sound', async () => {
  const own = await withMicrophone(), { signIn: enter, faults, context } = await visitor(own, server.url, { permissions: ['microphone'] }), page = await enter('captions');
  page.on('dialog', (dialog) => void dialog.accept());
  await page.click('text=Use the microphone');
  const id = await sessionOf(page);
  await page.waitForSelector('[data-live]');
  await page.click('text=End the line');
  await page.waitForSelector('.cue[data-segment="1"]');
  await page.click('text=Pause');
  await page.waitForSelector('.talk-head [data-state=paused]');
  await page.waitForSelector('text=Paused: nothing is heard');
  const arrived = async () => (await admin.get(`/api/captions/sessions/${id}/snapshot`)).samples, before = await arrived();
  await eventually('silence in place of the sound', async () => (await arrived()) > before);
  await page.waitForFunction(() => document.querySelector('meter').value === 0);
  await page.click('text=Resume');
  await page.waitForSelector('.talk-head [data-state=running]');
  await page.reload();
  await page.waitForSelector('text=Without sound, the session ends after two minutes');
  assert.ok((await lines(page)).length >= 1);
  const at = await arrived();
  await page.click('text=Continue with the microphone');
  await page.waitForSelector('[data-capture=sending]');
  await eventually('new sound', async () => (await arrived()) > at);
  await page.click('text=Stop');
  await ended(page);
  assert.deepEqual(faults, []);
  await own.close();
});

test('a file whose first part has arrived is continued, and nothing is transcribed twice', async () => {
  const { session_id: id } = await admin.post('/api/captions/sessions'), first = pcm.subarray(0, (pcm.length / 3) & ~1);
  await new Promise((resolve, reject) => {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/ws/captions/${id}?token=${admin.token}`);
    let sent = false;
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.event !== 'ack') return;
      if (!sent) { sent = true; for (let i = 0; i < first.length; i += 16_000) socket.send(first.subarray(i, i + 16_000)); }
      if (frame.samples === first.length / 2) { socket.close(); resolve(); }
    };
  });
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter(`captions/${id}`);
  await page.waitForSelector('text=Continue with the file');
  await page.setInputFiles('input[type=file]', recording);
  await ended(page);
  assert.ok(wordErrors(await heard(page)) <= 0.15, await heard(page));
  assert.equal((await admin.get(`/api/captions/sessions/${id}/snapshot`)).samples, pcm.length / 2);
  assert.deepEqual(faults, []);
  await context.close();
});

test('what is no sound, and a server without a model, are told in words', async () => {
  const later = join(folder, 'later'), poor = await new Turnpike({ TURNPIKE_CAPTIONS_MODEL: later }).ready(), { signIn: enter, faults, context } = await visitor(browser, poor.url), page = await enter('captions');
  try {
    await page.waitForSelector('text=No speech model is installed');
    assert.equal(await page.locator('.sources pre').innerText(), './scripts/captions-model');
    assert.equal(await page.locator('.sources button[aria-disabled=true]').count(), 2);
    const text = join(folder, 'notes.txt');
    writeFileSync(text, 'no sound');
    await page.setInputFiles('input[type=file]', text);
    await page.waitForSelector('text=cannot read the sound of notes.txt');
    await page.setInputFiles('input[type=file]', recording);
    await page.waitForFunction(() => !document.querySelector('.sources .trouble'));
    await fitsAndIsAccessible(page, 'captions without a model');
    // The model is installed while the page is open, and the server runs.
    symlinkSync(model, later);
    await page.waitForSelector('.sources button[aria-disabled=false]');
    assert.equal(await page.locator('text=No speech model is installed').count(), 0);
    await page.setInputFiles('input[type=file]', recording);
    await ended(page);
    assert.deepEqual(faults, []);
  } finally { await context.close(); await poor.end(); }
});
