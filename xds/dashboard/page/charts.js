// The charts themselves. Loaded only once there is something to draw: the library is the page's largest file.

import uPlot from './uplot.js';

import { short } from './format.js';

const day = 86400; // seconds
const charts = new Map(); // by container

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC');
const hour = (start, at) => (at - start === day ? '24:00' : new Date(at * 1000).toISOString().slice(11, 16));
const font = (size) => `${size * devicePixelRatio}px system-ui, sans-serif`;

/**
 * Draws each key's tokens over a day that begins at start, its limit and where its forecast leads. Times are in seconds.
 * point(at, totals) is called while somebody points at a time, and with null when nobody does any more.
 */
export function drawUsage(container, known) {
  const { start, lines } = known;
  const at = [...new Set(lines.flatMap((line) => line.at))].sort((a, b) => a - b);
  known.top = Math.max(1, ...lines.map((line) => Math.max(line.limit ?? 0, line.total.at(-1)))) * 1.12;
  show(container, JSON.stringify([start, lines.map((line) => line.key.id)]), 280, known, [at, ...lines.map((line) => valuesAt(line, at))], (entry) => ({
    ...shared(entry, start),
    series: [{}, ...lines.map((line, i) => ({ stroke: colour(`--c${i + 1}`), width: 2, points: { show: false } }))],
    hooks: {
      drawAxes: [(u) => drawLimits(u, entry.known)],
      draw: [(u) => { for (const part of [drawNow, drawRotations, drawForecasts, drawNames]) part(u, entry.known); }],
      setCursor: [(u) => tell(u, entry.known)],
    },
  }));
}

/** Draws a rate over a day that begins at start; values stand for the buckets around at. */
export function drawRate(container, { start, at, values, colour: name }) {
  show(container, String(start), 120, { top: Math.max(1, ...values) * 1.15 }, [at, values], (entry) => ({
    ...shared(entry, start),
    series: [{}, { stroke: colour(name), fill: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 6] }) }],
  }));
}

/** Makes every chart anew with the next draw: the colours have changed. */
export function forgetCharts() {
  for (const entry of charts.values()) entry.made = '';
}

/** Shows data in a container's chart, made anew where made says that it is another one. Hooks draw from entry.known. */
function show(container, made, height, known, data, options) {
  let entry = charts.get(container);
  if (!entry) {
    charts.set(container, entry = { chart: null, made: '', known });
    new ResizeObserver(() => entry.chart?.setSize({ width: container.clientWidth, height })).observe(container);
  }
  entry.known = known;
  if (entry.made !== made) {
    entry.made = made;
    entry.chart?.destroy();
    entry.chart = new uPlot({ ...options(entry), width: container.clientWidth, height }, null, container);
  }
  entry.chart.setData(data);
}

function shared(entry, start) {
  const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
  return {
    tzDate: utc,
    legend: { show: false },
    scales: { x: { time: true, range: [start, start + day] }, y: { range: () => [0, entry.known.top] } },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: 'day' }, points: { size: 7 } },
    axes: [
      { ...axis, size: 28, space: 56, values: (u, splits) => splits.map((at) => hour(start, at)) },
      { ...axis, size: 48, space: 32, values: (u, splits) => splits.map(short) },
    ],
  };
}

/** What a line had come to at each of these times: between two of its points in proportion, and nothing after its last. */
function valuesAt({ at, total }, times) {
  let next = 0;
  return times.map((time) => {
    while (next < at.length && at[next] < time) next++;
    if (next === at.length) return null;
    if (next === 0) return total[0];
    const share = (time - at[next - 1]) / (at[next] - at[next - 1]);
    return total[next - 1] + share * (total[next] - total[next - 1]);
  });
}

function tell(u, { lines, point }) {
  const i = u.cursor.idx;
  if (i === null || i === undefined || u.cursor.left < 0) {
    point(null, lines.map((line) => [line.key.id, line.used]));
    return;
  }
  point(u.data[0][i], lines.map((line, n) => [line.key.id, Math.round(u.data[n + 1][i] ?? line.used)]));
}

/** Draws a straight line between two places of the chart. */
function stroke(u, [x1, y1], [x2, y2], style, { dash = [], width = 1 } = {}) {
  const { ctx } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  ctx.strokeStyle = style;
  ctx.lineWidth = width * ratio;
  ctx.setLineDash(dash.map((d) => d * ratio));
  ctx.beginPath();
  ctx.moveTo(u.valToPos(x1, 'x', true), u.valToPos(y1, 'y', true));
  ctx.lineTo(u.valToPos(x2, 'x', true), u.valToPos(y2, 'y', true));
  ctx.stroke();
  ctx.restore();
}

/** Writes text at a place in the chart, moved by so many pixels. */
function write(u, text, at, y, style, { dx, dy }) {
  const { ctx } = u;
  const left = u.valToPos(at, 'x', true) + dx * devicePixelRatio;
  const base = u.valToPos(y, 'y', true) + dy * devicePixelRatio;
  ctx.save();
  ctx.font = font(11);
  ctx.textAlign = 'left';
  ctx.lineJoin = 'round';
  ctx.lineWidth = 3 * devicePixelRatio;
  ctx.strokeStyle = colour('--card'); // a rim, so that lines do not cross the text
  ctx.strokeText(text, left, base);
  ctx.fillStyle = style;
  ctx.fillText(text, left, base);
  ctx.restore();
}

/** A line for each different limit, named where keys differ. */
function drawLimits(u, { start, lines }) {
  const limits = Map.groupBy(lines.filter((line) => line.limit !== null), (line) => line.limit);
  for (const [limit, having] of limits) {
    const whose = limits.size === 1 ? 'limit' : `limit of ${having.map((line) => `Key ${line.key.id}`).join(', ')}`;
    stroke(u, [start, limit], [start + day, limit], colour('--muted'), { dash: [6, 4] });
    write(u, `${whose}: ${short(limit)}`, start, limit, colour('--muted'), { dx: 6, dy: -5 });
  }
}

function drawNow(u, { now, top }) {
  stroke(u, [now, 0], [now, top], colour('--faint'), { dash: [2, 3] });
}

/** Where each key in use is going. */
function drawForecasts(u, { now, lines }) {
  lines.forEach((line, i) => {
    if (line.forecast === null || line.limit === null) return;
    const style = colour(`--c${i + 1}`);
    stroke(u, [now, line.total.at(-1)], [line.forecast, line.limit], style, { dash: [4, 4], width: 2 });
    write(u, new Date(line.forecast * 1000).toISOString().slice(11, 16), line.forecast, line.limit, style, { dx: 6, dy: 16 });
  });
}

/** A mark at the top for each rotation. */
function drawRotations(u, { rotations, top }) {
  for (const { at, from, to } of rotations) {
    const x = Date.parse(at) / 1000;
    stroke(u, [x, 0], [x, top], colour('--faint'));
    write(u, `${from} → ${to}`, x, top, colour('--muted'), { dx: 4, dy: 11 });
  }
}

/** Each key's name at the end of its line, so that colour is not all that tells them apart; where names would overlap, only the upper one. */
function drawNames(u, { lines }) {
  const taken = [];
  const ends = lines.map((line, i) => ({ line, i, y: u.valToPos(line.total.at(-1), 'y', false) })).sort((a, b) => a.y - b.y);
  for (const { line, i, y } of ends) {
    if (taken.some((other) => Math.abs(other - y) < 12)) continue;
    taken.push(y);
    write(u, `Key ${line.key.id}`, line.at.at(-1), line.total.at(-1), colour(`--c${i + 1}`), { dx: 6, dy: -5 });
  }
}
