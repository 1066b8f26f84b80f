// Sign-in: a page of its own at first, and a dialog above the screen when the session has ended, so that nothing typed is lost.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';
import { Field, useForm } from '../ui/field.js';
import { Dialog } from '../ui/dialog.js';
import { me, signIn } from '../live/session.js';
import { signedOut } from '../live/api.js';

const { form, main, h1, p, button, div } = tags;

function Form() {
  const known = me.value?.username ?? '';
  const name = useSignal(known), password = useSignal(''), state = useForm();
  return form({ class: 'sign-in', onSubmit: (event) => { event.preventDefault(); void state.run(async () => { await signIn(name.value.trim(), password.value); password.value = ''; }); } },
    h(Field, { name: 'username', label: 'Username or e-mail', value: name.value, set: (value) => { name.value = value; }, autocomplete: 'username', required: true, autofocus: !known }),
    h(Field, { name: 'password', label: 'Password', type: 'password', value: password.value, set: (value) => { password.value = value; }, autocomplete: 'current-password', required: true, autofocus: Boolean(known) }),
    state.says(),
    button({ type: 'submit', class: 'primary', 'aria-disabled': state.busy.value }, state.busy.value ? 'Signing in…' : 'Sign in'));
}

/** @param {{ notice?: string }} props */
export const SignInPage = ({ notice }) => main({ class: 'door', id: 'main' }, div({ class: 'card' },
  h1(null, 'Turnpike'), notice ? p({ class: 'trouble', role: 'alert' }, notice) : p({ class: 'muted' }, 'Sign in to send commands, ask models and follow what happens.'), h(Form, null),
  p({ class: 'muted small-print' }, 'The first start prints the password of admin, and a link that signs in once.')));

export const SignInDialog = () => (me.value && signedOut.value
  ? h(Dialog, { title: 'Sign in again', class: 'again', onClose: () => { if (signedOut.peek()) location.assign('/console/'); } },
    h1(null, 'Sign in again'), p(null, `The session of ${me.value.username} has ended. What you typed is kept, and requests continue after the sign-in.`), h(Form, null))
  : null);
