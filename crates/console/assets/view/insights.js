// What an analysis has found about the user's own health. It reaches nobody else and is not stored.
import { h } from '../vendor/preact.js';
import { useSignal } from '../vendor/signals.js';
import { tags } from '../ui/tags.js';

const { section, h2, p, ul, li, article, div, button, progress, small, span } = tags;
/** @typedef {import('../client/turnpike.js').Frame} Frame */
/** @typedef {{ update: Frame | null, found: Frame[] }} Analysis */
const SOURCES = /** @type {Record<string, string>} */ ({ model: 'by the language model', statistics: 'by statistics' });
/** As many findings as are shown; a new analysis replaces those of the one before. */
const KEPT = 50;

/** The analysis of this room, as its frames arrive. */
export function useAnalysis() {
  const state = useSignal(/** @type {Analysis} */ ({ update: null, found: [] }));
  return {
    state,
    take: (/** @type {Frame} */ frame) => {
      const { update, found } = state.peek();
      if (frame.event === 'analysis_update') state.value = { update: frame, found: frame['status'] === 'started' ? [] : found };
      if (frame.event === 'health_insight') state.value = { update, found: [...found, frame].slice(-KEPT) };
    },
    clear: () => { state.value = { update: null, found: [] }; },
  };
}

/** @param {{ analysis: ReturnType<typeof useAnalysis> }} props */
export function Insights({ analysis }) {
  const { update, found } = analysis.state.value;
  if (!update && !found.length) return null;
  const status = update?.['status'], ended = status === 'completed' || status === 'failed';
  return section({ class: 'insights', 'aria-label': 'Your health data' },
    div({ class: 'insights-head' }, h2(null, 'Your health data'), small({ class: 'muted' }, 'Only you see this. It is not stored.'), span({ class: 'grow' }),
      button({ type: 'button', class: 'quiet', onClick: analysis.clear }, 'Dismiss')),
    update && !ended ? div({ class: 'insights-now' }, progress({ max: 100, value: update['progress'], 'aria-label': 'Progress of the analysis' }), span({ class: 'muted num' }, `${update['progress']} %`)) : null,
    p({ class: status === 'failed' ? 'wrong' : 'muted', role: 'status' }, update?.['details'] ?? ''),
    found.map((one, i) => article({ key: i, class: 'insight', 'data-source': one['source'] }, p(null, one['insight']),
      one['recommendations']?.length ? ul(null, one['recommendations'].map((/** @type {string} */ text, /** @type {number} */ n) => li({ key: n }, text))) : null,
      small({ class: 'muted' }, `${String(one['category']).replaceAll('_', ' ')}, ${Math.round(Number(one['confidence']) * 100)} % sure, ${SOURCES[one['source']] ?? one['source']}`))));
}
