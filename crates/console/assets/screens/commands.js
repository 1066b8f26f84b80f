// The history of commands, and one of them.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { go, path, query, to } from '../ui/place.js';
import { AsOf, pill } from '../ui/state.js';
import { ListEnd, Search, useList, useOne } from '../ui/list.js';
import { CopyAs } from '../ui/copy.js';
import { exact, when } from '../ui/text.js';
import { may, me } from '../live/session.js';
import { Answer } from '../view/timeline.js';

const { div, h1, p, section, table, thead, tbody, tr, th, td, select, option, label, time } = tags;
const STATES = ['pending', 'in_progress', 'completed', 'failed', 'cancelled', 'timed_out', 'unknown'];

export default () => (path.value[1] ? h(One, { key: path.value[1], id: path.value[1] }) : h(List, null));

function List() {
  const words = useSignal(''), status = query.value.get('status') ?? '', vehicle = query.value.get('vehicle_id') ?? '';
  const vehicles = useList('/api/vehicles?limit=100');
  const address = `/api/commands?${new URLSearchParams({ limit: '50', ...(status ? { status } : {}), ...(vehicle ? { vehicle_id: vehicle } : {}) })}`;
  const list = useList(address);
  // Only admins see the commands of others.
  const seesAll = may('admin'), users = useList(seesAll ? '/api/admin/users?limit=100' : null);
  const people = new Map((users.items ?? []).map((one) => [one.id, one.username]));
  const sender = (/** @type {any} */ one) => (one.user_id === me.value?.id ? 'you' : people.get(one.user_id) ?? one.user_id);
  const names = new Map((vehicles.items ?? []).map((one) => [one.id, `${one.make} ${one.model}`]));
  const filter = (/** @type {string} */ name, /** @type {string} */ value) => { const next = new URLSearchParams(query.value); if (value) next.set(name, value); else next.delete(name); go(`commands?${next}`, { replace: true }); };
  const wanted = words.value.toLowerCase();
  const rows = (list.items ?? []).filter((one) => `${one.command_name} ${seesAll ? sender(one) : ''} ${names.get(one.vehicle_id) ?? ''} ${JSON.stringify(one.command_params)} ${one.error_message ?? ''}`.toLowerCase().includes(wanted));
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, 'Commands'), h(AsOf, null)),
    div({ class: 'tools' }, h(Search, { label: 'Search in this list', value: words.value, set: (text) => { words.value = text; } }),
      label({ class: 'hidden', for: 'status' }, 'Status'), select({ id: 'status', value: status, onChange: (event) => filter('status', event.currentTarget.value) }, option({ value: '' }, 'Any status'), STATES.map((one) => option({ key: one, value: one }, one.replace('_', ' ')))),
      label({ class: 'hidden', for: 'vehicle' }, 'Vehicle'), select({ id: 'vehicle', value: vehicle, onChange: (event) => filter('vehicle_id', event.currentTarget.value) }, option({ value: '' }, 'Any vehicle'), (vehicles.items ?? []).map((one) => option({ key: one.id, value: one.id }, `${one.make} ${one.model} ${one.vin}`)))),
    rows.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Commands' }, table({ class: 'list' }, thead(null, tr(null, ['Command', 'Parameters', 'Vehicle', 'Status', 'Sent', ...(seesAll ? ['By'] : [])].map((name) => th({ key: name, scope: 'col' }, name)))),
      tbody(null, rows.map((one) => tr({ key: one.command_id }, td(null, to(`commands/${one.command_id}`, { 'data-row': '' }, one.command_name)), td({ class: 'mono muted' }, Object.values(one.command_params).join(' ')), td(null, to(`vehicles/${one.vehicle_id}`, null, names.get(one.vehicle_id) ?? one.vehicle_id)), td(null, pill(one.status)), td({ class: 'num muted' }, time({ title: exact(one.submitted_at) }, when(one.submitted_at))), seesAll ? td({ class: 'cut' }, sender(one)) : null))))) : null,
    list.items?.length && !rows.length ? p({ class: 'empty' }, 'Nothing in this list matches.') : null,
    h(ListEnd, { list, empty: [p(null, 'No command here.'), to('vehicles', { class: 'button' }, 'Choose a vehicle')] }),
    h(CopyAs, { calls: [{ path: address, rpc: 'turnpike.vehicle.v1.VehicleService/ListCommands', message: { limit: 50 }, port: 50053 }] }));
}

/** @param {{ id: string }} props */
function One({ id }) {
  const command = useOne(`/api/commands/${id}`), one = command.data;
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, one ? one.command_name : 'Command'), h(AsOf, null)),
    one ? p({ class: 'muted' }, 'To ', to(`vehicles/${one.vehicle_id}`, null, 'this vehicle'), `, ${when(one.submitted_at)}, at most ${one.timeout_seconds} s, `, tags.code(null, JSON.stringify(one.command_params))) : null,
    section({ class: 'card', 'aria-labelledby': 'answer' }, h(Answer, { id, heading: 'answer' })));
}
