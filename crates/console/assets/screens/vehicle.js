// One vehicle: its status, a form for each command of the catalogue, and the answer as it arrives.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { go, path, to } from '../ui/place.js';
import { AsOf, pill } from '../ui/state.js';
import { Field, Trouble, useForm } from '../ui/field.js';
import { ListEnd, useList, useOne } from '../ui/list.js';
import { confirm } from '../ui/dialog.js';
import { CopyAs } from '../ui/copy.js';
import { exact, uuid, when } from '../ui/text.js';
import { json } from '../live/api.js';
import { draft } from '../live/drafts.js';
import { useTopicState } from '../live/link.js';
import { may } from '../live/session.js';
import { Answer } from '../view/timeline.js';

const { div, h1, h2, p, section, form, button, span, kbd, ul, li, time } = tags;

/** @param {{ id: string }} props */
export function Vehicle({ id }) {
  const vehicle = useOne(`/api/vehicles/${id}`), commands = useList(`/api/commands?vehicle_id=${id}&limit=10`), status = useSignal('');
  const set = (/** @type {string} */ now) => { status.value = now; };
  useTopicState(vehicle.data ? `vehicle:${id}` : null, () => json(`/api/vehicles/${id}`).then((now) => () => set(now.connection_status), () => () => {}),
    (frames) => { for (const frame of frames) if (frame.event === 'vehicle') set(frame['connection_status']); });
  if (vehicle.problem && !vehicle.data) return div({ class: 'scroll' }, div({ class: 'empty' }, h1(null, 'Vehicle'), h(Trouble, { problem: vehicle.problem }), to('vehicles', { class: 'button' }, 'All vehicles')));
  const one = vehicle.data, shown = path.value[2];
  if (!one) return div({ class: 'scroll' }, p({ class: 'muted' }, 'Loading…'));
  return div({ class: 'scroll' },
    div({ class: 'head' }, div(null, h1(null, `${one.make} ${one.model} ${one.year}`), p({ class: 'mono muted' }, one.vin)), pill(status.value || one.connection_status), h(AsOf, null)),
    div({ class: 'cards two' },
      section({ class: 'card', 'aria-labelledby': 'command' }, h2({ id: 'command' }, 'Send a command'),
        may('operator') ? h(Composer, { vehicle: one, sent: (/** @type {string} */ command) => { go(`vehicles/${id}/${command}`); commands.reload(); } }) : p({ class: 'empty' }, 'Sending commands needs the role operator. An admin can give it to you.')),
      section({ class: 'card', 'aria-labelledby': 'answer' }, shown ? h(Answer, { key: shown, id: shown, heading: 'answer', ended: commands.reload }) : [h2({ id: 'answer' }, 'Answer'), p({ class: 'empty' }, 'The answer appears here, piece by piece, as the vehicle sends it.')]),
      section({ class: 'card', 'aria-labelledby': 'history' }, h2({ id: 'history' }, 'Latest commands'),
        ul({ class: 'rows' }, (commands.items ?? []).map((command) => li({ key: command.command_id }, to(`vehicles/${id}/${command.command_id}`, { 'data-row': '', 'aria-current': shown === command.command_id ? 'true' : undefined }, span(null, command.command_name), span({ class: 'row-end' }, pill(command.status), time({ class: 'muted num', title: exact(command.submitted_at) }, when(command.submitted_at))))))),
        h(ListEnd, { list: { ...commands, next: null }, empty: p(null, 'You have not sent a command to this vehicle yet.') }))),
    h(CopyAs, { calls: [{ path: `/api/vehicles/${id}/status`, rpc: 'turnpike.vehicle.v1.VehicleService/GetVehicle', message: { vehicle_id: id }, port: 50053 }, { path: `/api/topics/vehicle:${id}/events?since=start`, stream: true }] }));
}

/** @param {{ vehicle: any, sent: (command: string) => void }} props */
function Composer({ vehicle, sent }) {
  const catalogue = useOne('/api/commands/catalogue'), state = useForm(), kept = draft(`command:${vehicle.id}`);
  if (catalogue.problem) return h(Trouble, { problem: catalogue.problem });
  if (!catalogue.data) return p({ class: 'muted' }, 'Loading…');
  /** @type {{ name: string, params: Record<string, string> }} */ const written = kept.value ? JSON.parse(kept.value) : { name: 'ReadDTC', params: {} };
  const types = /** @type {any[]} */ (catalogue.data), type = types.find((one) => one.name === written.name) ?? types[0];
  const properties = /** @type {[string, any][]} */ (Object.entries(type.params.properties));
  const value = (/** @type {string} */ name) => written.params[name] ?? (type.params.required.includes(name) ? type.params.properties[name].examples?.[0] ?? '' : '');
  const keep = (/** @type {any} */ next) => { kept.value = JSON.stringify({ ...written, ...next }); };
  const params = Object.fromEntries(properties.map(([name]) => [name, value(name)]).filter(([, text]) => text !== ''));
  const body = { vehicle_id: vehicle.id, command_name: type.name, command_params: params };
  const allowed = may(type.role);
  const send = async () => {
    const { command_id } = await json('/api/commands', { body, key: uuid() });
    kept.value = '';
    sent(command_id);
  };
  const submit = () => {
    if (!allowed) return;
    if (type.effect !== 'unsafe') { void state.run(send); return; }
    void confirm({ title: `Send ${type.name}?`, text: `${type.description}. This can change how the vehicle behaves, and is never sent twice.`, verb: 'Send it', typed: vehicle.vin, run: async () => { await state.run(send); } });
  };
  return form({ onSubmit: (event) => { event.preventDefault(); submit(); }, onKeyDown: (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); submit(); } } },
    h(Field, { name: 'command_name', label: 'Command', value: type.name, set: (name) => keep({ name, params: written.params['ecuAddress'] ? { ecuAddress: written.params['ecuAddress'] } : {} }), choices: types.map((one) => one.name), hint: type.description, wrong: state.wrong('command_name') }),
    p({ class: 'effect' }, pill(type.effect), allowed ? null : span({ class: 'muted' }, ` needs the role ${type.role}`)),
    properties.map(([name, schema]) => h(Field, { key: `${type.name}${name}`, name, label: type.params.required.includes(name) ? name : `${name} (optional)`, value: value(name), set: (text) => keep({ params: { ...written.params, [name]: text } }), mono: true, hint: schema.description + (schema.examples && !schema.enum ? `, such as ${schema.examples[0]}` : ''), wrong: state.wrong(`command_params.${name}`), ...(schema.enum ? { choices: type.params.required.includes(name) ? schema.enum : ['', ...schema.enum] } : { pattern: schema.pattern }) })),
    state.says(),
    div({ class: 'buttons' }, button({ type: 'submit', class: 'primary', 'aria-disabled': !allowed || state.busy.value }, state.busy.value ? 'Sending…' : 'Send command ', state.busy.value ? null : kbd(null, 'Ctrl ↵'))),
    h(CopyAs, { calls: [{ path: '/api/commands', body, rpc: 'turnpike.vehicle.v1.VehicleService/SubmitCommand', message: { vehicle_id: vehicle.id, name: type.name, params_json: JSON.stringify(params) }, port: 50053 }] }));
}
