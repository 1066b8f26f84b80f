// The user's own account: password, sessions, API keys, and how the console looks.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { pill } from '../ui/state.js';
import { Field, PASSWORD_HINT, useForm } from '../ui/field.js';
import { ListEnd, useList } from '../ui/list.js';
import { confirm } from '../ui/dialog.js';
import { copy, CopyAs } from '../ui/copy.js';
import { failed, toast } from '../ui/toast.js';
import { exact, when } from '../ui/text.js';
import { theme } from '../ui/theme.js';
import { single } from '../ui/keys.js';
import { json } from '../live/api.js';
import * as drafts from '../live/drafts.js';
import { me, signOut } from '../live/session.js';

const { div, h1, h2, p, section, form, button, table, thead, tbody, tr, th, td, time, code, label, input, fieldset, legend, small } = tags;
const SCOPES = { all: 'Everything that you may do', read: 'Reading only', vehicles: 'Vehicles and commands', chat: 'Conversations', llm: 'The /v1 API of language models', captions: 'Live captions', admin: 'Health of the deployment' };

export default function Account() {
  const leave = async () => {
    if (drafts.any()) await confirm({ title: 'Sign out?', text: 'What you typed and did not send is deleted from this browser.', verb: 'Sign out', run: signOut }); else await signOut().catch(failed);
  };
  return div({ class: 'scroll' }, div({ class: 'head' }, h1(null, 'Account'), button({ type: 'button', onClick: leave }, 'Sign out')),
    p({ class: 'muted' }, `${me.value?.display_name || me.value?.username} · ${me.value?.email} · role ${me.value?.role}`),
    div({ class: 'cards' }, h(Password, null), h(Look, null)), h(Sessions, null), h(Keys, null));
}

function Password() {
  const now = useSignal(''), next = useSignal(''), state = useForm();
  const submit = async () => { await json('/api/auth/change-password', { body: { current_password: now.value, new_password: next.value } }); now.value = next.value = ''; toast('The password was changed. Your other sessions have ended.'); };
  return section({ class: 'card', 'aria-labelledby': 'password' }, h2({ id: 'password' }, 'Password'), form({ onSubmit: (event) => { event.preventDefault(); void state.run(submit); } },
    input({ type: 'text', class: 'hidden', autocomplete: 'username', value: me.value?.username, readOnly: true, tabIndex: -1, 'aria-hidden': true }),
    h(Field, { name: 'current_password', label: 'Current password', type: 'password', autocomplete: 'current-password', required: true, value: now.value, set: (value) => { now.value = value; }, wrong: state.wrong('current_password') }),
    h(Field, { name: 'new_password', label: 'New password', type: 'password', autocomplete: 'new-password', required: true, value: next.value, set: (value) => { next.value = value; }, wrong: state.wrong('new_password'), hint: PASSWORD_HINT }),
    state.says(), div({ class: 'buttons' }, button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Change password'))));
}

function Look() {
  return section({ class: 'card', 'aria-labelledby': 'look' }, h2({ id: 'look' }, 'This browser'),
    fieldset(null, legend(null, 'Colours'), ['system', 'light', 'dark'].map((name) => label({ key: name, class: 'check' }, input({ type: 'radio', name: 'theme', checked: theme.value === name, onChange: () => { theme.value = name; } }), ` ${name === 'system' ? 'As the system' : name === 'light' ? 'Light' : 'Dark'}`))),
    fieldset(null, legend(null, 'Keys'), label({ class: 'check' }, input({ type: 'checkbox', checked: single.value, onChange: (event) => { single.value = event.currentTarget.checked; } }), ' Keys without Ctrl, such as g c')));
}

function Sessions() {
  const list = useList('/api/auth/sessions');
  const end = (/** @type {any} */ one) => confirm({ title: 'End this session?', text: `${browser(one.user_agent)} at ${one.ip} is signed out at once.`, verb: 'End session', run: async () => { await json(`/api/auth/sessions/${one.id}`, { method: 'DELETE' }); list.reload(); } });
  return section({ class: 'card', 'aria-labelledby': 'sessions' }, h2({ id: 'sessions' }, 'Sessions'),
    list.items?.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'Sessions' }, table({ class: 'list' }, thead(null, tr(null, ['Program', 'Address', 'Signed in', 'Last seen', ''].map((name) => th({ key: name, scope: 'col' }, name || tags.span({ class: 'hidden' }, 'Action'))))),
      tbody(null, list.items.map((one) => tr({ key: one.id }, td({ title: one.user_agent }, browser(one.user_agent)), td({ class: 'mono' }, one.ip), td({ class: 'num muted' }, time({ title: exact(one.created_at) }, when(one.created_at))), td({ class: 'num muted' }, when(one.last_seen_at)), td({ class: 'end' }, one.current ? pill('active', 'This one') : button({ type: 'button', class: 'small', onClick: () => end(one) }, 'End'))))))) : null,
    h(ListEnd, { list, empty: 'No session.' }), h(CopyAs, { calls: [{ path: '/api/auth/sessions', rpc: 'turnpike.auth.v1.AuthService/ListSessions', port: 50051 }] }));
}
function browser(/** @type {string} */ agent) {
  const found = /(Firefox|Edg|Chrome|Safari|curl|turnpike)[/ ]?([\d]*)/.exec(agent);
  return found ? `${found[1] === 'Edg' ? 'Edge' : found[1]} ${found[2] ?? ''}`.trim() : agent.slice(0, 40) || 'Unknown program';
}

function Keys() {
  const list = useList('/api/auth/api-keys'), name = useSignal(''), days = useSignal('90'), scope = useSignal('all'), made = useSignal(''), state = useForm();
  const create = async () => {
    const { key } = await json('/api/auth/api-keys', { body: { name: name.value.trim(), scopes: [scope.value], ...(days.value ? { expires_in_days: Number(days.value) } : {}) } });
    made.value = key;
    name.value = '';
    list.reload();
  };
  const revoke = (/** @type {any} */ one) => confirm({ title: 'Revoke this key?', text: 'Programs that use it are refused at once.', verb: 'Revoke', typed: one.name, run: async () => { await json(`/api/auth/api-keys/${one.id}`, { method: 'DELETE' }); list.reload(); } });
  return section({ class: 'card', 'aria-labelledby': 'keys' }, h2({ id: 'keys' }, 'API keys'), p({ class: 'muted' }, 'For programs. A key works until it expires or is revoked, and never manages accounts.'),
    made.value ? div({ class: 'secret', role: 'status' }, p(null, 'This key is shown only now. Copy it.'), code({ class: 'mono' }, made.value), div({ class: 'buttons' }, button({ type: 'button', class: 'primary', onClick: (event) => void copy(made.peek(), event.currentTarget.closest('.secret')?.querySelector('code') ?? null) }, 'Copy key'), button({ type: 'button', onClick: () => { made.value = ''; } }, 'I have it'))) : null,
    form({ class: 'inline', onSubmit: (event) => { event.preventDefault(); void state.run(create); } },
      h(Field, { name: 'name', label: 'Name', value: name.value, set: (value) => { name.value = value; }, required: true, wrong: state.wrong('name'), placeholder: 'nightly build' }),
      h(Field, { name: 'scopes', label: 'May do', value: scope.value, set: (value) => { scope.value = value; }, choices: Object.keys(SCOPES), words: SCOPES, wrong: state.wrong('scopes') }),
      h(Field, { name: 'expires_in_days', label: 'Days', type: 'number', value: days.value, set: (value) => { days.value = value; }, wrong: state.wrong('expires_in_days') }),
      button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Create key')), state.says(),
    list.items?.length ? div({ class: 'wide', tabIndex: 0, role: 'group', 'aria-label': 'API keys' }, table({ class: 'list' }, thead(null, tr(null, ['Name', 'Key', 'May do', 'Last used', 'Expires', ''].map((head) => th({ key: head, scope: 'col' }, head || tags.span({ class: 'hidden' }, 'Action'))))),
      tbody(null, list.items.map((one) => tr({ key: one.id }, td(null, one.name), td({ class: 'mono' }, `${one.prefix}…`), td(null, one.scopes.join(', ')), td({ class: 'num muted' }, when(one.last_used_at)), td({ class: 'num muted' }, when(one.expires_at)), td({ class: 'end' }, button({ type: 'button', class: 'small', onClick: () => revoke(one) }, 'Revoke'))))))) : null,
    h(ListEnd, { list, empty: small(null, 'No key yet.') }), h(CopyAs, { calls: [{ path: '/api/auth/api-keys', rpc: 'turnpike.auth.v1.ApiKeyService/ListApiKeys', port: 50051 }, { path: '/api/auth/api-keys', body: { name: 'nightly build', scopes: ['read'], expires_in_days: 90 } }] }));
}
