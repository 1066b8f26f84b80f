// What runs, what is healthy, and where to begin.
import { h } from '../vendor/preact.js';
import { tags } from '../ui/tags.js';
import { to } from '../ui/place.js';
import { AsOf, ENDED, pill } from '../ui/state.js';
import { useList, useOne, ListEnd } from '../ui/list.js';
import { CopyAs } from '../ui/copy.js';
import { exact, when } from '../ui/text.js';
import { may, me } from '../live/session.js';

const { div, h1, h2, p, section, ul, li, span, time, small } = tags;

export default function Overview() {
  const vehicles = useList('/api/vehicles?limit=100'), commands = useList('/api/commands?limit=8'), conversations = useList('/api/chat/conversations?limit=6');
  const services = useOne(may('admin') ? '/api/admin/services' : null), usage = useOne('/api/chat/usage'), engines = useOne('/api/captions/engines');
  const first = vehicles.items?.find((one) => one.connection_status === 'connected') ?? vehicles.items?.[0];
  const connected = vehicles.items?.filter((one) => one.connection_status === 'connected').length ?? 0;
  const running = commands.items?.filter((one) => !ENDED.has(one.status)).length ?? 0;
  // The step says what a click does now: while the list is being read, or is empty, it leads to the list of vehicles.
  const [step, promise] = first && may('operator') ? ['Run a command', `Read the trouble codes of ${first.make} ${first.model}`]
    : ['See the vehicles', vehicles.items?.length === 0 ? 'No vehicle is connected yet' : 'What is connected, and what it answered'];
  const fact = (/** @type {any} */ value, /** @type {string} */ name) => div({ class: 'fact' }, span({ class: 'num' }, value), small({ class: 'muted' }, name));
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, `Hello, ${me.value?.display_name || me.value?.username}`), h(AsOf, null)),
    div({ class: 'start' },
      to(first ? `vehicles/${first.id}` : 'vehicles', { class: 'step' }, span({ class: 'step-name' }, step), span({ class: 'muted' }, promise)),
      to('chat', { class: 'step' }, span({ class: 'step-name' }, 'Ask the model'), span({ class: 'muted' }, 'An answer streams to every tab and survives every cut')),
      to('captions', { class: 'step' }, span({ class: 'step-name' }, 'Caption a file'), span({ class: 'muted' }, engines.data?.length === 0 ? 'No speech model is installed yet' : 'Or what the microphone hears, while it is spoken')),
      to('rooms', { class: 'step' }, span({ class: 'step-name' }, 'Talk in a room'), span({ class: 'muted' }, 'Every message appears at once, and is kept for those who come later')),
      to('topics', { class: 'step' }, span({ class: 'step-name' }, 'Watch a topic'), span({ class: 'muted' }, 'Raw events, with their offsets, as they happen'))),
    div({ class: 'facts' }, fact(vehicles.items ? `${connected} of ${vehicles.items.length}${vehicles.next ? '+' : ''}` : '–', 'vehicles connected'), fact(running || '0', 'commands running'), fact(usage.data?.day?.used ?? '–', 'tokens today')),
    div({ class: 'cards' },
      section({ class: 'card', 'aria-labelledby': 'recent' }, div({ class: 'head' }, h2({ id: 'recent' }, 'Latest commands'), to('commands', null, 'All commands')),
        ul({ class: 'rows' }, (commands.items ?? []).map((one) => li({ key: one.command_id }, to(`commands/${one.command_id}`, { 'data-row': '' }, span(null, one.command_name), span({ class: 'row-end' }, pill(one.status), time({ class: 'muted num', title: exact(one.submitted_at) }, when(one.submitted_at))))))),
        h(ListEnd, { list: { ...commands, next: null }, empty: [p(null, 'You have not sent a command yet.'), to('vehicles', { class: 'button' }, 'Choose a vehicle')] })),
      section({ class: 'card', 'aria-labelledby': 'talks' }, div({ class: 'head' }, h2({ id: 'talks' }, 'Latest conversations'), to('chat', null, 'Chat')),
        ul({ class: 'rows' }, (conversations.items ?? []).map((one) => li({ key: one.id }, to(`chat/${one.id}`, { 'data-row': '' }, span({ class: 'cut' }, one.title), span({ class: 'row-end' }, time({ class: 'muted num', title: exact(one.updated_at) }, when(one.updated_at))))))),
        h(ListEnd, { list: { ...conversations, next: null }, empty: [p(null, 'No conversation yet.'), to('chat', { class: 'button' }, 'Ask the model')] })),
      services.data ? section({ class: 'card', 'aria-labelledby': 'health' }, div({ class: 'head' }, h2({ id: 'health' }, 'Services'), to('admin/services', null, 'Details')),
        ul({ class: 'rows' }, services.data.map((/** @type {any} */ one) => li({ key: one.name, class: 'row' }, span(null, one.name), span({ class: 'row-end' }, pill(one.status)))))) : null),
    h(CopyAs, { calls: [{ path: '/api/vehicles', rpc: 'turnpike.vehicle.v1.VehicleService/ListVehicles', port: 50053 }, { path: '/api/commands?limit=8', rpc: 'turnpike.vehicle.v1.VehicleService/ListCommands', message: { limit: 8 }, port: 50053 }, { path: '/api/chat/conversations', rpc: 'turnpike.chat.v1.ConversationService/ListConversations', port: 50052 }] }));
}
