// The events of one command as they arrive: offset, time, what happened, and where the connection was lost.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { ENDED, pill } from '../ui/state.js';
import { Trouble } from '../ui/field.js';
import { CopyAs } from '../ui/copy.js';
import { failed } from '../ui/toast.js';
import { clockTime, duration, exact } from '../ui/text.js';
import { json, Problem } from '../live/api.js';
import { cuts, useTopic } from '../live/link.js';
import { useOne } from '../ui/list.js';
import { to } from '../ui/place.js';

const { div, h2, p, ol, li, span, button, time, dl, dt, dd } = tags;
/** @typedef {import('../client/turnpike.js').Frame} Frame */

/** The pieces of a response in words: the fields that it has. @returns {any} */
function fields(/** @type {Record<string, unknown>} */ response) {
  return dl({ class: 'fields' }, Object.entries(response).map(([name, value]) => div({ key: name }, dt(null, name), dd({ class: 'mono' }, typeof value === 'object' ? JSON.stringify(value) : String(value)))));
}
function what(/** @type {Frame} */ frame) {
  if (frame.event === 'status') return pill(frame['status']);
  if (frame.event === 'response') return fields(frame['response']);
  if (frame.event === 'error') return span({ class: 'wrong' }, `${frame['error_message']} `, span({ class: 'mono' }, frame['error_code'] ?? ''));
  return span({ class: 'mono' }, frame.event);
}

/** A place in the list where the connection was cut, or where events are missing. @typedef {{ note: string, key: string }} Note */
/** @param {{ id: string, heading: string, ended?: () => void }} props */
export function Answer({ id, heading, ended: over }) {
  const rows = useSignal(/** @type {(Frame | Note)[]} */ ([])), refused = useSignal(/** @type {Problem | null} */ (null)), noted = useSignal(cuts.peek().length), done = useSignal(false);
  const command = useOne(`/api/commands/${id}`);
  useTopic(`response:${id}`, (frames) => {
    const added = /** @type {(Frame | Note)[]} */ ([]);
    for (const frame of frames) {
      if (frame.offset) {
        const open = rows.peek().length > 0 && cuts.peek().length > noted.peek() ? cuts.peek().slice(noted.peek()) : [];
        for (const cut of open) added.push({ key: `cut${cut.from}`, note: `The connection was lost at ${clockTime(cut.from)} for ${duration(cut.until - cut.from)}. What happened meanwhile follows; nothing is missing.` });
        noted.value = cuts.peek().length;
        added.push(frame);
      }
      if (frame.event === 'reset') added.push({ key: `reset${Math.random()}`, note: 'The server no longer has some of the events before this line.' });
      if (frame.event === 'closed') { done.value = true; command.reload(); over?.(); }
      if (frame.event === 'error' && !frame.offset) refused.value = new Problem(/** @type {any} */ (frame));
    }
    rows.value = [...rows.peek(), ...added];
  });
  const events = /** @type {Frame[]} */ (rows.value.filter((row) => 'event' in row));
  const status = events.findLast((frame) => frame.event === 'status')?.['status'] ?? command.data?.status ?? 'pending';
  const began = Date.parse(events[0]?.at ?? ''), ended = ENDED.has(status);
  return div(null,
    div({ class: 'head' }, h2({ id: heading }, command.data?.command_name ?? 'Answer'), pill(status),
      ended ? null : button({ type: 'button', class: 'danger small', onClick: () => { json(`/api/commands/${id}/cancel`, { method: 'POST' }).catch(failed); } }, 'Cancel'),
      to(`topics/response:${id}`, { class: 'wide-only' }, 'Raw events')),
    span({ class: 'hidden', role: 'status' }, ended ? `The command has ended: ${status.replace('_', ' ')}` : ''),
    refused.value ? h(Trouble, { problem: refused.value }) : null,
    status === 'unknown' ? p({ class: 'note' }, 'It is not known whether this command ran. Check the vehicle before you send it again.') : null,
    ol({ class: 'timeline', 'data-events': events.length, 'data-done': done.value ? 'true' : undefined }, rows.value.map((row) => ('note' in row
      ? li({ key: row.key, class: 'gap' }, row.note)
      : li({ key: row.offset, 'data-offset': row.offset }, span({ class: 'mono muted num', title: row.offset }, `#${row.offset?.split('-')[1]}`), div(null, what(row)), time({ class: 'muted num', title: exact(row.at) }, `+${duration(Date.parse(row.at ?? '') - began)}`))))),
    h(CopyAs, { calls: [{ path: `/api/topics/response:${id}/events?since=start`, stream: true }, { path: `/api/commands/${id}/responses`, rpc: 'turnpike.vehicle.v1.VehicleService/ListResponses', message: { command_id: id }, port: 50053 }] }));
}
