// Light, dark, or as the system says.
import { signal } from '../vendor/signals.js';

export const theme = signal(localStorage.getItem('theme') ?? 'system');
theme.subscribe((name) => {
  if (name === 'system') { localStorage.removeItem('theme'); delete document.documentElement.dataset['theme']; } else { localStorage.setItem('theme', name); document.documentElement.dataset['theme'] = name; }
});
