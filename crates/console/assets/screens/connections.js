// For admins: the open sockets and streams of all gateways.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { query, to } from '../ui/place.js';
import { ListEnd, Search, useList } from '../ui/list.js';
import { confirm } from '../ui/dialog.js';
import { CopyAs } from '../ui/copy.js';
import { exact, when } from '../ui/text.js';
import { client, json } from '../live/api.js';

const { div, p, section, button, table, thead, tbody, tr, th, td, time, span, small, details, summary, ul, li } = tags;
const COLUMNS = ['User', 'From', 'Route', 'Open since', 'Last active', 'Topics', 'Sent', 'Received', 'Behind', ''];

const bytes = (/** @type {number} */ n) => (n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);
const at = (/** @type {string} */ moment) => td({ class: 'num muted' }, time({ title: exact(moment) }, when(moment)));
const count = (/** @type {number} */ n, /** @type {string} */ word) => `${n} ${word}${n === 1 ? '' : 's'}`;

export function Connections() {
  const user = query.value.get('user'), address = `/api/admin/connections?limit=50${user ? `&user_id=${encodeURIComponent(user)}` : ''}`;
  const list = useList(address), words = useSignal('');
  const wanted = words.value.toLowerCase(), rows = (list.items ?? []).filter((one) => [one.username, one.address, one.user_agent, one.gateway, one.route, ...one.topics].some((text) => text.toLowerCase().includes(wanted)));
  const session = client.hello?.['session_id'];
  const close = (/** @type {any} */ one) => confirm({
    title: `Close this connection of ${one.username}?`, verb: 'Close connection',
    text: `${one.route} from ${one.address} is closed. The client may connect again; to keep a user out, end the user’s sessions or deactivate the account.${one.session_id === session ? ' It belongs to your own session.' : ''}`,
    run: async () => { await json(`/api/admin/connections/${one.id}`, { method: 'DELETE' }); list.reload(); },
  });
  return section({ 'aria-label': 'Connections' },
    div({ class: 'tools' }, h(Search, { label: 'User, address, client, topic', value: words.value, set: (text) => { words.value = text; } }), button({ type: 'button', onClick: list.reload }, 'Refresh'),
      list.items?.length ? span({ class: 'muted num', role: 'status' }, list.next ? `the newest ${list.items.length}` : count(list.items.length, 'connection')) : null),
    user ? p({ class: 'muted' }, 'Only the connections of one user. ', to('admin/connections', null, 'Show all')) : null,
    list.missing ? p({ class: 'note', role: 'status' }, `Without the connections of gateways that did not answer: ${list.missing}`) : null,
    rows.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Connections' }, table({ class: 'list' }, thead(null, tr(null, COLUMNS.map((name) => th({ key: name, scope: 'col' }, name || span({ class: 'hidden' }, 'Action'))))),
      tbody(null, rows.map((one) => tr({ key: one.id, 'data-connection': one.id },
        td(null, user ? one.username : to(`admin/connections?user=${one.user_id}`, { 'data-row': '', title: `Only the connections of ${one.username}` }, one.username), one.session_id === session ? small({ class: 'muted' }, ' you') : null),
        td(null, div({ class: 'client' }, span({ class: 'num' }, one.address), small({ class: 'muted cut', title: one.user_agent }, one.user_agent || 'no user agent'))),
        td(null, div({ class: 'client' }, span({ class: 'mono' }, one.route), small({ class: 'muted' }, one.gateway))), at(one.since), at(one.last_active),
        td(null, one.topics_total ? details(null, summary({ class: 'num' }, one.topics_total), ul({ class: 'plain mono' }, one.topics.map((/** @type {string} */ topic) => li({ key: topic }, topic)), one.topics_total > one.topics.length ? li({ class: 'muted' }, `and ${one.topics_total - one.topics.length} more`) : null)) : '–'),
        td({ class: 'num' }, bytes(one.bytes_sent)), td({ class: 'num' }, bytes(one.bytes_received)), td({ class: 'num' }, one.lag === null ? '–' : count(one.lag, 'event')),
        td({ class: 'end' }, button({ type: 'button', class: 'small', 'aria-label': `Close a connection of ${one.username}`, onClick: () => close(one) }, 'Close'))))))) : null,
    list.items?.length && !rows.length ? p({ class: 'empty' }, list.next ? 'No connection of those that are loaded matches.' : 'No connection matches.') : null,
    h(ListEnd, { list, empty: 'No connection.' }),
    h(CopyAs, { calls: [{ path: address }, { method: 'DELETE', path: `/api/admin/connections/${rows[0]?.id ?? 'CONNECTION'}` }] }));
}
