// The same as a command line. No credential is part of it: it names $TURNPIKE_TOKEN.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from './tags.js';
import { toast } from './toast.js';

const { div, details, summary, pre, code, p, span, button } = tags;
const quote = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Copies a text; a page without a secure origin selects it instead. */
export async function copy(/** @type {string} */ text, /** @type {Element | null} */ shown = null) {
  try { await navigator.clipboard.writeText(text); toast('Copied'); } catch {
    if (shown) { getSelection()?.selectAllChildren(shown); toast('Selected: press Ctrl C. This page may not use the clipboard.'); }
  }
}

/** @typedef {{ method?: string, path: string, body?: unknown, stream?: boolean, rpc?: string, message?: unknown, port?: number }} Call */
/** @param {Call} call */
export function asCurl({ method, path, body, stream }) {
  const verb = method ?? (body === undefined ? 'GET' : 'POST');
  const lines = [`curl -sS${stream ? 'N' : ''}${verb === 'GET' || (verb === 'POST' && body !== undefined) ? '' : ` -X ${verb}`} ${quote(location.origin + path)}`, '-H "Authorization: Bearer $TURNPIKE_TOKEN"'];
  if (body !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quote(JSON.stringify(body))}`);
  return lines.join(' \\\n  ');
}
/** @param {Call} call */
export const asGrpcurl = ({ rpc, message = {}, port }) => [`grpcurl -plaintext -H "authorization: Bearer $TURNPIKE_TOKEN"`, `-d ${quote(JSON.stringify(message))}`, `127.0.0.1:${port} ${rpc}`].join(' \\\n  ');

/** @param {{ name: string, text: string }} props */
export function Snippet({ name, text }) {
  return div({ class: 'code' },
    div({ class: 'code-head' }, span(null, name), button({ type: 'button', class: 'quiet', 'aria-label': `Copy ${name}`, onClick: (event) => void copy(text, event.currentTarget.closest('.code')?.querySelector('code') ?? null) }, 'Copy')),
    pre({ tabIndex: 0, role: 'group', 'aria-label': name }, code(null, text)));
}

/** @param {{ calls: Call[] }} props */
export function CopyAs({ calls }) {
  const open = useSignal(false);
  return details({ class: 'copy-as', onToggle: (event) => { open.value = event.currentTarget.open; } }, summary(null, 'The same as a command line'),
    open.value ? [p({ class: 'muted' }, '$TURNPIKE_TOKEN is an access token, or an API key from your account.',
      calls.some((call) => call.rpc) ? ' grpcurl needs the address of the service; the one process listens there only if its TURNPIKE_…_GRPC is set.' : ''),
    calls.map((call, i) => [h(Snippet, { key: `c${i}`, name: 'curl', text: asCurl(call) }), call.rpc ? h(Snippet, { key: `g${i}`, name: 'grpcurl', text: asGrpcurl(call) }) : null])] : null);
}
