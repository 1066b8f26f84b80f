// For admins: the open sockets and streams of all gateways.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { ListEnd, Search, useList } from '../ui/list.js';
import { confirm } from '../ui/dialog.js';
import { CopyAs } from '../ui/copy.js';
import { exact, when } from '../ui/text.js';
import { json } from '../live/api.js';

const { div, p, section, button, table, thead, tbody, tr, th, td, time, span } = tags;
const COLUMNS = ['User', 'From', 'Gateway', 'Route', 'Open since', 'Last active', 'Topics', 'Sent', 'Received', 'Behind', ''];
const ADDRESS = '/api/admin/connections?limit=100';

const bytes = (/** @type {number} */ n) => (n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);
const at = (/** @type {string} */ moment) => td({ class: 'num muted' }, time({ title: exact(moment) }, when(moment)));

export function Connections() {
  const list = useList(ADDRESS), words = useSignal('');
  const rows = (list.items ?? []).filter((one) => JSON.stringify(one).toLowerCase().includes(words.value.toLowerCase()));
  const close = (/** @type {any} */ one) => confirm({ title: 'Close this connection?', text: `${one.username} at ${one.address} gets a close frame, and may connect again.`, verb: 'Close', run: async () => { await json(`/api/admin/connections/${one.id}`, { method: 'DELETE' }); list.reload(); } });
  return section({ 'aria-label': 'Connections' },
    div({ class: 'tools' }, h(Search, { label: 'Search in this list', value: words.value, set: (text) => { words.value = text; } }), button({ type: 'button', onClick: list.reload }, 'Refresh')),
    list.missing ? p({ class: 'note', role: 'status' }, `Without the connections of gateways that did not answer: ${list.missing}`) : null,
    rows.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Connections' }, table({ class: 'list' }, thead(null, tr(null, COLUMNS.map((name) => th({ key: name, scope: 'col' }, name || span({ class: 'hidden' }, 'Action'))))),
      tbody(null, rows.map((one) => tr({ key: one.id }, td({ title: one.user_id }, one.username), td({ title: one.user_agent }, one.address), td(null, one.gateway), td({ class: 'mono' }, one.route), at(one.since), at(one.last_active),
        td({ title: one.topics.join('\n'), class: 'num' }, one.topics_total), td({ class: 'num' }, bytes(one.bytes_sent)), td({ class: 'num' }, bytes(one.bytes_received)), td({ class: 'num' }, one.lag ?? '–'),
        td({ class: 'end' }, button({ type: 'button', class: 'small', 'aria-label': `Close a connection of ${one.username}`, onClick: () => close(one) }, 'Close'))))))) : null,
    list.items?.length && !rows.length ? p({ class: 'empty' }, 'No connection matches.') : null, h(ListEnd, { list, empty: 'No connection.' }),
    h(CopyAs, { calls: [{ path: ADDRESS }] }));
}
