// The bar that shows how much of a limit is used.

import { setAttribute, setText } from './dom.js';
import { cells, wholePercent } from './format.js';

/** Fills a bar: exactly to percent for the eye, in ten cells as text, and as a value for assistive software. */
export function showBar(bar, percent, tone) {
  setAttribute(bar, 'data-tone', tone);
  setAttribute(bar, 'aria-valuenow', Math.min(Math.max(percent, 0), 100));
  setAttribute(bar, 'aria-valuetext', `${wholePercent(percent)}%`);
  bar.style.setProperty('--full', `${Math.min(Math.max(percent, 0), 100)}%`);
  setText(bar, cells(percent));
}
