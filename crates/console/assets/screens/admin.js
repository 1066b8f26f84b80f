// For admins: users, services, models and connections.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { tags } from '../ui/tags.js';
import { path, to } from '../ui/place.js';
import { AsOf, pill } from '../ui/state.js';
import { Field, PASSWORD_HINT, Trouble, useForm } from '../ui/field.js';
import { ListEnd, Search, useList, useOne } from '../ui/list.js';
import { confirm, Dialog } from '../ui/dialog.js';
import { CopyAs } from '../ui/copy.js';
import { failed, toast } from '../ui/toast.js';
import { exact, when } from '../ui/text.js';
import { json } from '../live/api.js';
import { me } from '../live/session.js';
import { Connections } from './connections.js';

const { div, h1, h2, p, section, form, button, table, thead, tbody, tr, th, td, time, nav, ul, li, span } = tags;
const ROLES = ['user', 'operator', 'engineer', 'admin'];
const MEANINGS = { user: 'user: reads vehicles, chats', operator: 'operator: sends commands', engineer: 'engineer: sends unsafe commands', admin: 'admin: manages everything' };
const PARTS = /** @type {Record<string, [string, () => any]>} */ ({ users: ['Users', Users], services: ['Services', Services], models: ['Models', Models], connections: ['Connections', Connections] });

export default function Admin() {
  const current = path.value[1] ?? 'users', Part = PARTS[current]?.[1];
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, 'Admin'), h(AsOf, null)),
    nav({ class: 'tabs', 'aria-label': 'Admin' }, ul(null, Object.entries(PARTS).map(([id, [name]]) => li({ key: id }, to(`admin/${id}`, { 'aria-current': id === current ? 'page' : undefined }, name))))),
    Part ? h(Part, { key: current }) : p({ class: 'empty' }, 'There is no such part.'));
}

function Users() {
  const list = useList('/api/admin/users?limit=100'), words = useSignal(''), creating = useSignal(false), editing = useSignal(/** @type {any} */ (null));
  const rows = (list.items ?? []).filter((one) => `${one.username} ${one.email} ${one.display_name} ${one.role}`.toLowerCase().includes(words.value.toLowerCase()));
  return section({ 'aria-label': 'Users' }, div({ class: 'tools' }, h(Search, { label: 'Search users', value: words.value, set: (text) => { words.value = text; } }), button({ type: 'button', class: 'primary', 'data-new': '', 'aria-keyshortcuts': 'n', onClick: () => { creating.value = true; } }, 'New user')),
    rows.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Users' }, table({ class: 'list' }, thead(null, tr(null, ['User', 'E-mail', 'Role', 'State', 'Created', ''].map((name) => th({ key: name, scope: 'col' }, name || span({ class: 'hidden' }, 'Action'))))),
      tbody(null, rows.map((one) => tr({ key: one.id }, td(null, one.username, one.display_name && one.display_name !== one.username ? span({ class: 'muted' }, ` ${one.display_name}`) : null), td(null, one.email), td(null, one.role), td(null, pill(one.active ? 'active' : 'inactive')), td({ class: 'num muted' }, time({ title: exact(one.created_at) }, when(one.created_at))), td({ class: 'end' }, button({ type: 'button', class: 'small', 'data-row': '', 'aria-label': `Edit ${one.username}`, onClick: () => { editing.value = one; } }, 'Edit'))))))) : null,
    list.items?.length && !rows.length ? p({ class: 'empty' }, 'No user matches.') : null, h(ListEnd, { list, empty: 'No user.' }),
    creating.value ? h(NewUser, { done: () => { creating.value = false; list.reload(); } }) : null,
    editing.value ? h(EditUser, { user: editing.value, done: () => { editing.value = null; list.reload(); } }) : null,
    h(CopyAs, { calls: [{ path: '/api/admin/users', rpc: 'turnpike.auth.v1.AuthService/ListUsers', message: { limit: 100 }, port: 50051 }, { path: '/api/admin/users', body: { email: 'ada@example.com', username: 'ada', password: '…', role: 'operator' } }] }));
}

/** A password that nobody guesses: 80 bits, in groups that can be read out. */
const suggested = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => 'abcdefghijkmnpqrstuvwxyz23456789'[byte % 32]).join('').replace(/(.{4})(?=.)/g, '$1-');

/** @param {{ done: () => void }} props */
function NewUser({ done }) {
  const username = useSignal(''), email = useSignal(''), password = useSignal(suggested()), role = useSignal('user'), state = useForm();
  const create = async () => { await json('/api/admin/users', { body: { username: username.value.trim(), email: email.value.trim(), password: password.value, role: role.value } }); toast(`${username.peek()} can sign in now.`); done(); };
  return h(Dialog, { title: 'New user', onClose: done }, form({ onSubmit: (event) => { event.preventDefault(); void state.run(create); } }, h2(null, 'New user'),
    h(Field, { name: 'username', label: 'Username', value: username.value, set: (value) => { username.value = value; }, required: true, autofocus: true, wrong: state.wrong('username') }),
    h(Field, { name: 'email', label: 'E-mail', type: 'email', value: email.value, set: (value) => { email.value = value; }, required: true, wrong: state.wrong('email') }),
    h(Field, { name: 'password', label: 'First password', mono: true, value: password.value, set: (value) => { password.value = value; }, required: true, wrong: state.wrong('password'), hint: 'Give it to the user, who can change it. It is not shown again.' }),
    h(Field, { name: 'role', label: 'Role', value: role.value, set: (value) => { role.value = value; }, choices: ROLES, words: MEANINGS, wrong: state.wrong('role') }),
    state.says(), div({ class: 'buttons' }, button({ type: 'button', onClick: done }, 'Cancel'), button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Create user'))));
}

/** @param {{ user: any, done: () => void }} props */
function EditUser({ user, done }) {
  const role = useSignal(user.role), name = useSignal(user.display_name), password = useSignal(''), state = useForm(), own = user.id === me.value?.id;
  const change = (/** @type {any} */ body) => json(`/api/admin/users/${user.id}`, { method: 'PATCH', body });
  const save = async () => { await change({ ...(role.value !== user.role ? { role: role.value } : {}), ...(name.value !== user.display_name ? { display_name: name.value } : {}), ...(password.value ? { password: password.value } : {}) }); done(); };
  const remove = () => confirm({ title: `Delete ${user.username}?`, text: 'The account and its sessions are deleted for good.', verb: 'Delete user', typed: user.username, run: async () => { await json(`/api/admin/users/${user.id}`, { method: 'DELETE' }); done(); } });
  return h(Dialog, { title: `Edit ${user.username}`, onClose: done }, form({ onSubmit: (event) => { event.preventDefault(); void state.run(save); } }, h2(null, user.username),
    h(Field, { name: 'display_name', label: 'Name', value: name.value, set: (value) => { name.value = value; }, wrong: state.wrong('display_name') }),
    h(Field, { name: 'role', label: 'Role', value: role.value, set: (value) => { role.value = value; }, choices: ROLES, words: MEANINGS, wrong: state.wrong('role') }),
    h(Field, { name: 'password', label: 'New password (optional)', type: 'password', autocomplete: 'new-password', value: password.value, set: (value) => { password.value = value; }, wrong: state.wrong('password'), hint: PASSWORD_HINT }),
    state.says(), div({ class: 'buttons' }, button({ type: 'button', onClick: done }, 'Cancel'), button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Save')),
    own ? null : div({ class: 'buttons apart' },
      button({ type: 'button', onClick: () => void state.run(async () => { await change({ active: !user.active }); done(); }) }, user.active ? 'Deactivate' : 'Activate'),
      button({ type: 'button', onClick: () => json(`/api/admin/users/${user.id}/sessions`, { method: 'DELETE' }).then(() => toast(`The sessions of ${user.username} have ended.`), failed) }, 'End sessions'),
      button({ type: 'button', class: 'danger', onClick: remove }, 'Delete'))));
}

function Services() {
  const services = useOne('/api/admin/services');
  useEffect(() => { const timer = setInterval(() => { if (!document.hidden) services.reload(); }, 5000); return () => clearInterval(timer); }, []);
  if (services.problem && !services.data) return h(Trouble, { problem: services.problem });
  return section({ 'aria-label': 'Services' }, div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Services' }, table({ class: 'list' }, thead(null, tr(null, th({ scope: 'col' }, 'Service'), th({ scope: 'col' }, 'State'), th({ scope: 'col' }, 'Details'))),
    tbody(null, (services.data ?? []).map((/** @type {any} */ one) => tr({ key: one.name }, td(null, one.name), td(null, pill(one.status)), td({ class: 'muted' }, Object.entries(one).filter(([name]) => name !== 'name' && name !== 'status').map(([name, value]) => `${name} ${value}`).join(', '))))))),
    h(CopyAs, { calls: [{ path: '/api/admin/services' }] }));
}

function Models() {
  const list = useList('/api/admin/models'), busy = useSignal('');
  const act = (/** @type {string} */ model, /** @type {'load' | 'unload'} */ verb) => { busy.value = model; json(`/api/admin/models/${verb}`, { method: 'POST', ...(verb === 'load' ? { body: { model } } : {}) }).then(() => { toast(verb === 'load' ? `${model} is loaded.` : 'The model was unloaded.'); list.reload(); }, failed).finally(() => { busy.value = ''; }); };
  return section({ 'aria-label': 'Models' }, list.items?.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Models' }, table({ class: 'list' }, thead(null, tr(null, ['Model', 'Owner', 'State', ''].map((name) => th({ key: name, scope: 'col' }, name || span({ class: 'hidden' }, 'Action'))))),
    tbody(null, list.items.map((one) => tr({ key: one.id + one.server }, td({ class: 'mono' }, one.id), td(null, one.owned_by), td(null, pill(one.active ? 'active' : 'inactive', one.active ? 'Active' : 'Not loaded')), td({ class: 'end' }, one.owned_by === 'turnpike' ? null : button({ type: 'button', class: 'small', 'aria-disabled': busy.value !== '', onClick: () => act(one.id, one.active ? 'unload' : 'load') }, busy.value === one.id ? 'Working…' : one.active ? 'Unload' : 'Load'))))))) : null,
    h(ListEnd, { list, empty: 'No model.' }),
    list.items?.some((one) => one.id === 'turnpike-scripted') ? p({ class: 'note' }, 'The built-in scripted model answers. TURNPIKE_LLM_URL names any OpenAI-compatible server in its place.') : null,
    h(CopyAs, { calls: [{ path: '/api/admin/models', rpc: 'turnpike.chat.v1.ModelService/ListModels', port: 50052 }, { path: '/api/admin/models/load', body: { model: list.items?.[0]?.id ?? 'MODEL' } }, { method: 'POST', path: '/api/admin/models/unload' }] }));
}
