// A conversation of any length: pages of ten messages. A page far from the screen is a spacer of the height that it had.
import { h, Component, createRef } from '../vendor/preact.js';
import { tags } from '../ui/tags.js';
import { exact, when } from '../ui/text.js';
import { whole } from './markdown.js';

/** @typedef {{ id: string, parent_id: string | null, role: 'user' | 'assistant', content: string, reasoning_content?: string, state: string, model?: string, finish_reason?: string, version: number, versions: number, created_at: string, error_message?: string, usage?: any, timing?: any }} Message */
/** @typedef {{ versions: (message: Message, step: number) => void, again: (message: Message) => void, edit: (message: Message) => void, copy: (text: string) => void }} Actions */
const { section, article, h2, div, time, button, span, p, details, summary } = tags;
export const PAGE = 10;

/** @extends {Component<{ message: Message, actions: Actions, growing?: any }>} */
export class Bubble extends Component {
  shouldComponentUpdate(/** @type {any} */ next) { return next.message !== this.props.message || next.growing !== this.props.growing; }
  render() {
    const { message: m, actions, growing } = this.props, mine = m.role === 'user', generating = m.state === 'generating';
    const speed = m.timing && m.usage && m.timing.total_ms > m.timing.first_token_ms && m.usage.completion_tokens > 1 ? `${Math.round((m.usage.completion_tokens * 1000) / (m.timing.total_ms - m.timing.first_token_ms))} tokens/s` : '';
    return article({ class: `bubble ${m.role}`, 'aria-label': `${mine ? 'You' : 'Model'}, ${when(m.created_at)}`, 'aria-busy': generating ? true : undefined, 'data-id': m.id, 'data-state': m.state },
      h2({ class: 'who' }, mine ? 'You' : m.model || 'Model', ' ', time({ class: 'muted', title: exact(m.created_at) }, when(m.created_at))),
      m.reasoning_content ? details({ class: 'reasoning' }, summary(null, 'Reasoning'), div({ class: 'prose' }, whole(m.reasoning_content))) : null,
      mine ? div({ class: 'prose said' }, m.content) : div({ class: `prose ${generating ? 'caret' : ''}` }, growing ?? whole(m.content)),
      m.state === 'error' ? p({ class: 'trouble' }, m.error_message || 'The answer failed.') : null,
      m.state === 'interrupted' ? p({ class: 'note' }, m.error_message || 'The server was restarted while it wrote this. What was written is kept; ask again for a whole answer.') : null,
      m.state === 'stopped' || m.finish_reason === 'length' ? p({ class: 'note' }, m.state === 'stopped' ? 'You stopped this answer.' : 'The model reached its limit of length.') : null,
      generating ? null : div({ class: 'actions' },
        m.versions > 1 ? span({ class: 'versions' },
          button({ type: 'button', class: 'quiet', 'aria-label': 'Earlier version', 'aria-disabled': m.version <= 1, onClick: () => actions.versions(m, -1) }, '‹'),
          span({ class: 'num muted' }, `${m.version} / ${m.versions}`),
          button({ type: 'button', class: 'quiet', 'aria-label': 'Later version', 'aria-disabled': m.version >= m.versions, onClick: () => actions.versions(m, 1) }, '›')) : null,
        button({ type: 'button', class: 'quiet', onClick: () => actions.copy(m.content) }, 'Copy'),
        mine ? button({ type: 'button', class: 'quiet', onClick: () => actions.edit(m) }, 'Edit') : button({ type: 'button', class: 'quiet', onClick: () => actions.again(m) }, 'Answer again'),
        !mine && m.usage?.completion_tokens ? span({ class: 'muted num small-print' }, `${m.usage.completion_tokens} tokens${speed ? `, ${speed}` : ''}`) : null));
  }
}

/** @typedef {{ messages: Message[], root: Element | null, actions: Actions, growing: { id: string, view: any } | null, last: boolean }} PageProps */
/** @extends {Component<PageProps, { near: boolean }>} */
export class Page extends Component {
  box = createRef();
  height = 0;
  state = { near: this.props.last };
  /** @type {IntersectionObserver | undefined} */ eye;
  componentDidMount() {
    this.eye = new IntersectionObserver(([seen]) => {
      if (!seen || seen.isIntersecting === this.state.near) return;
      if (!seen.isIntersecting) this.height = this.box.current.getBoundingClientRect().height;
      this.setState({ near: seen.isIntersecting });
    }, { root: this.props.root, rootMargin: '1200px 0px' });
    this.eye.observe(this.box.current);
  }
  componentWillUnmount() { this.eye?.disconnect(); }
  render() {
    const { messages, actions, growing } = this.props;
    return this.state.near
      ? section({ ref: this.box, class: 'page' }, messages.map((message) => h(Bubble, { key: message.id, message, actions, ...(growing?.id === message.id ? { growing: growing.view } : {}) })))
      : section({ ref: this.box, class: 'page', 'aria-hidden': true, style: { height: `${this.height || messages.length * 160}px` } });
  }
}
