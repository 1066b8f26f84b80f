// The members of a room and what a room is called, in dialogs: who is in it, with which role; inviting, removing, renaming.
import { h } from '../vendor/preact.js';
import { useEffect } from '../vendor/preact-hooks.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { Field, useForm } from '../ui/field.js';
import { ListEnd, Search, useList } from '../ui/list.js';
import { confirm, Dialog } from '../ui/dialog.js';
import { CopyAs } from '../ui/copy.js';
import { json } from '../live/api.js';
import { me } from '../live/session.js';

const { div, h2, p, ul, li, span, small, button, form, label, select, option } = tags;
const ROLES = ['member', 'moderator', 'owner'];
const MEANINGS = { member: 'member: writes', moderator: 'moderator: removes', owner: 'owner: everything' };

/** `changes` grows when an event says that a member came, left or got another role. @param {{ room: any, changes: number, done: () => void }} props */
export function Members({ room, changes, done }) {
  const address = `/api/rooms/${room.id}/members`, list = useList(`${address}?limit=100`), words = useSignal(''), name = useSignal(''), role = useSignal('member'), state = useForm();
  const owner = room.role === 'owner', invites = owner || room.role === 'moderator';
  useEffect(() => { if (changes) list.reload(); }, [changes]);
  const invite = async () => { await json(address, { body: { username: name.value.trim(), role: role.value } }); name.value = ''; list.reload(); };
  const change = (/** @type {any} */ one, /** @type {string} */ to) => state.run(async () => { try { await json(`${address}/${one.user_id}`, { method: 'PATCH', body: { role: to } }); } finally { list.reload(); } });
  const remove = (/** @type {any} */ one) => confirm({ title: `Remove ${named(one)}?`, text: room.visibility === 'private' ? 'Who is removed sees this room no more.' : 'The room is public: who is removed can join again.', verb: 'Remove', run: () => state.run(async () => { await json(`${address}/${one.user_id}`, { method: 'DELETE' }); list.reload(); }) });
  const rows = (list.items ?? []).filter((one) => `${named(one)} ${one.role}`.toLowerCase().includes(words.value.toLowerCase()));
  return h(Dialog, { title: 'Members', onClose: done, class: 'members' }, h2(null, `Members of ${room.name}`),
    (list.items?.length ?? 0) > 8 ? div({ class: 'tools' }, h(Search, { label: 'Search members', value: words.value, set: (text) => { words.value = text; } })) : null,
    ul({ class: 'rows' }, rows.map((one) => li({ key: one.user_id, class: 'row', 'data-member': one.username ?? one.user_id }, span({ class: 'cut' }, named(one), one.user_id === me.value?.id ? small({ class: 'muted' }, ' you') : null),
      span({ class: 'row-end' }, owner ? [label({ class: 'hidden', for: `role-${one.user_id}` }, `Role of ${named(one)}`), select({ id: `role-${one.user_id}`, value: one.role, onChange: (event) => void change(one, event.currentTarget.value) }, ROLES.map((word) => option({ key: word, value: word }, word)))] : span({ class: 'muted' }, one.role),
        invites && one.user_id !== me.value?.id ? button({ type: 'button', class: 'small', 'aria-label': `Remove ${named(one)}`, onClick: () => void remove(one) }, 'Remove') : null)))),
    h(ListEnd, { list, empty: 'Nobody is a member.' }),
    invites ? form({ class: 'inline', onSubmit: (event) => { event.preventDefault(); void state.run(invite); } },
      h(Field, { name: 'username', label: 'Invite', value: name.value, set: (value) => { name.value = value; }, required: true, placeholder: 'username', wrong: state.wrong('username') }),
      owner ? h(Field, { name: 'role', label: 'As', value: role.value, set: (value) => { role.value = value; }, choices: ROLES, words: MEANINGS, wrong: state.wrong('role') }) : null,
      button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Invite')) : p({ class: 'muted small-print' }, 'Owners and moderators invite people.'),
    state.says(), h(CopyAs, { calls: [{ path: address, rpc: 'turnpike.chat.v1.RoomService/ListMembers', message: { room_id: room.id }, port: 50052 }, { path: address, body: { username: 'ada', role: 'member' } }] }),
    div({ class: 'buttons' }, button({ type: 'button', onClick: (event) => event.currentTarget.closest('dialog')?.close() }, 'Close')));
}
const named = (/** @type {any} */ one) => one.username ?? 'a deleted account';

/** @param {{ room: any, done: () => void }} props */
export function RoomSettings({ room, done }) {
  const name = useSignal(room.name), description = useSignal(room.description), visibility = useSignal(room.visibility), state = useForm();
  const save = async () => { await json(`/api/rooms/${room.id}`, { method: 'PATCH', body: { name: name.value.trim(), description: description.value.trim(), visibility: visibility.value } }); done(); };
  return h(Dialog, { title: 'Room', onClose: done }, form({ onSubmit: (event) => { event.preventDefault(); void state.run(save); } }, h2(null, 'Change the room'),
    h(Field, { name: 'name', label: 'Name', value: name.value, set: (value) => { name.value = value; }, required: true, autofocus: true, wrong: state.wrong('name') }),
    h(Field, { name: 'description', label: 'Description (optional)', value: description.value, set: (value) => { description.value = value; }, wrong: state.wrong('description') }),
    h(Field, { name: 'visibility', label: 'Who can enter', value: visibility.value, set: (value) => { visibility.value = value; }, choices: ['public', 'private'], words: { public: 'Every user', private: 'Only members' } }),
    state.says(), div({ class: 'buttons' }, button({ type: 'button', onClick: done }, 'Cancel'), button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, 'Save'))));
}
