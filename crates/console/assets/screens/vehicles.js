// The vehicles, and one of them.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { tags } from '../ui/tags.js';
import { path, to } from '../ui/place.js';
import { AsOf, pill } from '../ui/state.js';
import { ListEnd, Search, useList } from '../ui/list.js';
import { CopyAs } from '../ui/copy.js';
import { exact, when } from '../ui/text.js';
import { Vehicle } from './vehicle.js';

const { div, h1, p, table, thead, tbody, tr, th, td, select, option, label, time } = tags;

export default () => (path.value[1] ? h(Vehicle, { key: path.value[1], id: path.value[1] }) : h(Vehicles, null));

function Vehicles() {
  const words = useSignal(''), settled = useSignal(''), status = useSignal('');
  useEffect(() => { const wait = setTimeout(() => { settled.value = words.value.trim(); }, 200); return () => clearTimeout(wait); }, [words.value]);
  const filter = new URLSearchParams({ limit: '50', ...(settled.value ? { search: settled.value } : {}), ...(status.value ? { status: status.value } : {}) });
  const address = `/api/vehicles?${filter}`, list = useList(address);
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, 'Vehicles'), h(AsOf, null)),
    div({ class: 'tools' }, h(Search, { label: 'VIN, make or model', value: words.value, set: (text) => { words.value = text; } }),
      label({ class: 'hidden', for: 'status' }, 'Status'), select({ id: 'status', value: status.value, onChange: (event) => { status.value = event.currentTarget.value; } }, [['', 'Any status'], ['connected', 'Connected'], ['disconnected', 'Disconnected'], ['error', 'Error']].map(([value, name]) => option({ key: value, value }, name)))),
    list.items?.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Vehicles' }, table({ class: 'list' }, thead(null, tr(null, ['Vehicle', 'VIN', 'Status', 'Last seen'].map((name) => th({ key: name, scope: 'col' }, name)))),
      tbody(null, list.items.map((one) => tr({ key: one.id }, td(null, to(`vehicles/${one.id}`, { 'data-row': '' }, `${one.make} ${one.model} ${one.year}`)), td({ class: 'mono' }, one.vin), td(null, pill(one.connection_status)), td({ class: 'num muted' }, time({ title: exact(one.last_seen_at) }, when(one.last_seen_at)))))))) : null,
    h(ListEnd, { list, empty: settled.value || status.value ? p(null, 'No vehicle matches.') : p(null, 'No vehicle yet. A connector reports its vehicles when it starts: check TURNPIKE_CONNECTORS.') }),
    h(CopyAs, { calls: [{ path: address, rpc: 'turnpike.vehicle.v1.VehicleService/ListVehicles', message: { limit: 50, ...(settled.value ? { search: settled.value } : {}) }, port: 50053 }] }));
}
