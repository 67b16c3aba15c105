// In the page of pictures.mjs: BOARD = {title, rows, panels: [{title, panel, frames}], width, cell}.
const CLASSIC = ['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#705da0', '#37872d', '#fade2a', '#447ebc', '#c15c17'];
const NAMED = { green: '#73bf69', orange: '#ff9830', red: '#f2495c', blue: '#5794f2', text: '#ccccdc', transparent: 'transparent' };
const SCHEMES = { 'continuous-GrYlRd': ['#3a8a45', '#b8960c', '#b8303f'], 'continuous-BlYlRd': ['#3366b8', '#b8960c', '#b8303f'],
                  'continuous-BlPu': ['#2f5aa8', '#7a3fa8'] };
const VIRIDIS = ['#440154', '#3b528b', '#21918c', '#5ec962', '#fde725'];

const element = (parent, tag, text = '', className = '') => {
  const e = parent.appendChild(document.createElement(tag));
  e.textContent = text;
  if (className) e.className = className;
  return e;
};
const hex = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16));
const faded = (c, alpha) => `rgba(${hex(c).join(',')},${alpha})`;

function blend(colours, share) {
  const at = Math.min(Math.max(share, 0), 1) * (colours.length - 1), i = Math.min(Math.floor(at), colours.length - 2);
  const [a, b] = [hex(colours[i]), hex(colours[i + 1])];
  return `rgb(${a.map((v, k) => Math.round(v + (b[k] - v) * (at - i))).join(',')})`;
}

const SI = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']];

// decimals: of the panel; undefined lets the value decide.
function show(value, unit, decimals) {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'number') return String(value);
  const fixed = (v, d = 2) => (decimals === undefined ? String(+v.toFixed(Math.abs(v) < 0.1 && v !== 0 ? d + 2 : d)) : v.toFixed(decimals));
  if (unit === 'percentunit') return `${(value * 100).toFixed(decimals ?? 1)}%`;
  if (unit === 's') {
    const [size, name] = [[3600, 'h'], [60, 'min'], [1, 's'], [1e-3, 'ms'], [0, 'µs']].find(([s]) => Math.abs(value) >= s);
    return value === 0 ? '0 s' : `${+(value / (size || 1e-6)).toFixed(size >= 60 ? 1 : 1)} ${name}`;
  }
  if (unit === 'sci') return value.toExponential(1);
  if (['sishort', 'short', 'flops', 'reqps'].includes(unit) && Math.abs(value) >= 1000) {
    const [size, name] = SI.find(([s]) => Math.abs(value) >= s);
    return fixed(value / size, 2) + (unit === 'short' && name === 'k' ? ' K' : ` ${name}`).replace(/ $/, '') + (unit === 'flops' ? 'FLOP/s' : '');
  }
  return fixed(value, 3) + (unit === 'reqps' ? ' req/s' : '');
}

const lastOf = (values) => values.findLast((v) => v !== null);
function byThreshold(value, steps) {
  const step = steps.findLast((s) => s.value === null || value >= s.value);
  return NAMED[step?.color] ?? '#ccccdc';
}

function legendOf(box, entries) {
  const legend = element(box, 'div', '', 'legend');
  for (const [name, colour] of entries) {
    const span = element(legend, 'span');
    element(span, 'i').style.background = colour;
    span.append(name);
  }
}

// lines: {name, values, colour, width, dash, points, hidden (from the legend)}; bands: [upper, lower, fill] by index in lines.
function plot(box, xs, lines, bands, { time, xLabel, xUnit, yLabel, unit, log, least }) {
  const axis = { stroke: '#9a9fb0', grid: { stroke: 'rgba(204,204,220,.08)', width: 1 }, ticks: { show: false }, font: '11px DejaVu Sans' };
  const host = element(box, 'div');
  new uPlot({
    width: box.clientWidth - 12, height: box.clientHeight - 28 - 24, legend: { show: false }, cursor: { show: false }, pxAlign: 1,
    scales: { x: { time }, y: { distr: log ? 3 : 1, range: log ? undefined : (_, a, b) => {
      const pad = (b - a || Math.abs(b) || 1) * 0.06;
      return [least === undefined ? a - pad : Math.min(least, a), b + pad];
    } } },
    axes: [{ ...axis, label: xLabel, labelSize: 16, size: 28, labelFont: '11px DejaVu Sans',
             values: (_, v) => v.map((t) => (time ? new Date(t * 1000).toTimeString().slice(0, 5) : show(t, xUnit))) },
           { ...axis, label: yLabel || undefined, labelSize: 16, size: (_, v) => 14 + 6.5 * Math.max(...(v ?? ['']).map((t) => t.length)), labelFont: '11px DejaVu Sans',
             values: (_, v) => v.map((t) => (t === null ? '' : show(t, unit))) }],
    series: [{}, ...lines.map((l) => ({ stroke: l.colour, width: l.width, dash: l.dash, spanGaps: true, points: { show: !!l.points, size: 3, fill: l.colour, stroke: l.colour } }))],
    bands: bands.map(([top, bottom, fill]) => ({ series: [top + 1, bottom + 1], fill })),
  }, [xs, ...lines.map((l) => l.values)], host);
  legendOf(box, lines.filter((l) => !l.hidden).map((l) => [l.name, l.colour]));
}

const draw = {
  trend(box, { panel, frames: [{ fields: [x, ...ys] }] }) {
    let next = 0;
    const lines = ys.map(({ name, values, properties: p }) => ({
      name, values, colour: p.color?.fixedColor ?? CLASSIC[next++ % CLASSIC.length], width: p['custom.lineWidth'],
      dash: p['custom.lineStyle'] && p['custom.lineWidth'] ? [2, 6] : undefined, hidden: p['custom.hideFrom'].legend }));
    const bands = ys.flatMap(({ properties: p }, i) => {
      const below = lines.findIndex((l) => l.name === p['custom.fillBelowTo']);
      return below < 0 ? [] : [[i, below, faded(lines[i].colour, p['custom.fillOpacity'] / 100)]];
    });
    plot(box, x.values, lines, bands, { time: false, xLabel: x.properties['custom.axisLabel'], xUnit: x.properties.unit, unit: panel.fieldConfig.defaults.unit,
                                        yLabel: panel.fieldConfig.defaults.custom.axisLabel });
  },

  timeseries(box, { panel, frames }) {
    const { unit, min, custom } = panel.fieldConfig.defaults;
    const joined = uPlot.join(frames.map(({ fields: [t, v] }) => [t.values.map((s) => s / 1000), v.values]));
    const lines = frames.map(({ fields: [, v] }, i) => ({ name: v.name, values: joined[i + 1], colour: CLASSIC[i % CLASSIC.length], width: 1.5 }));
    plot(box, joined[0], lines, [], { time: true, unit, yLabel: custom.axisLabel, log: custom.scaleDistribution.type === 'log', least: min });
  },

  xychart(box, { frames }) {
    const pick = (frame, what) => frame.fields.find((f) => f.name.startsWith(what));
    const distinct = frames.map((f) => {  // uPlot.join wants each x once
      const rows = new Map(pick(f, 'Value #B').values.map((x, i) => [x, pick(f, 'Value #A').values[i]]));
      return [[...rows.keys()], [...rows.values()]];
    });
    const joined = uPlot.join(distinct);
    const lines = frames.map((f, i) => ({ name: pick(f, 'Value #A').name.replace('Value #A ', ''), values: joined[i + 1],
                                          colour: CLASSIC[i % CLASSIC.length], width: 1.5, points: true }));
    plot(box, joined[0], lines, [], { time: false, xLabel: 'tokens', xUnit: 'sishort', yLabel: 'nats a token' });
  },

  table(box, { panel, frames: [{ fields }] }) {
    const { defaults } = panel.fieldConfig, sort = panel.options.sortBy?.[0]?.displayName;
    const by = fields.find((f) => f.name === sort)?.values;
    const rows = fields[0].values.map((_, i) => i).sort((a, b) => (by ? by[a] - by[b] : a - b));
    const t = element(box, 'table'), head = element(t, 'tr');
    const numeric = (f) => (f.type === 'number' && !f.properties.displayName && f.properties['custom.cellOptions']?.type !== 'gauge' ? 'number' : '');
    for (const f of fields) element(head, 'th', f.properties.displayName ?? f.name, numeric(f));
    for (const i of rows.slice(0, Math.floor((box.clientHeight - 55) / 26))) {
      const tr = element(t, 'tr');
      for (const f of fields) {
        const p = f.properties, value = f.values[i], unit = p.unit ?? defaults.unit, kind = p['custom.cellOptions']?.type;
        const text = typeof value === 'number' ? show(value, unit, p.decimals ?? (unit === 's' ? undefined : defaults.decimals)) : String(value ?? '');
        const td = element(tr, 'td', kind === 'gauge' ? '' : text, numeric(f));
        if (kind === 'gauge') {
          const bar = element(td, 'i', '', 'gauge');
          bar.style.cssText += `width:${110 * value / (p.max ?? Math.max(...f.values))}px;background:${NAMED[p.color?.fixedColor]}`;
          td.append(text);
        }
        if (kind === 'color-text' && value !== null) td.style.color = byThreshold(value, p.thresholds.steps);
        if (kind === 'color-background' && value !== null) {
          const column = f.values.filter((v) => v !== null), low = Math.min(...column), high = Math.max(...column);
          td.style.background = blend(SCHEMES[defaults.color.mode], high > low ? (value - low) / (high - low) : 0.5);
          td.style.color = '#fff';
        }
      }
    }
  },

  stat(box, { panel, frames }) {
    const { unit, decimals, thresholds } = panel.fieldConfig.defaults, stats = element(box, 'div', '', 'stats');
    for (const { fields: [, v] } of frames.slice(0, 18)) {
      const value = lastOf(v.values), one = element(stats, 'div', frames.length > 1 ? v.name : '');
      const figure = element(one, 'b', show(value, unit, unit === 's' ? undefined : decimals));
      figure.style.color = byThreshold(value, thresholds.steps);
      if (frames.length > 8) figure.style.fontSize = '13px';
    }
  },

  bargauge(box, { panel, frames }) {
    const { unit, min, max, thresholds } = panel.fieldConfig.defaults;
    for (const { fields: [, v] } of frames.slice(0, Math.floor((box.clientHeight - 34) / 18))) {
      const value = lastOf(v.values), bar = element(box, 'div', '', 'bar'), colour = byThreshold(value, thresholds.steps);
      element(bar, 'span', v.name);
      element(element(bar, 'div'), 'div').style.cssText = `width:${100 * Math.min(1, (value - min) / (max - min))}%;background:${colour}`;
      element(bar, 'b', show(value, unit)).style.color = colour;
    }
  },

  // Buckets are cumulative: Grafana's data source makes them differences in the order of their bounds, and so is it done here.
  heatmap(box, { frames }) {
    const bound = (f) => (f.fields[1].name === '+Inf' ? Infinity : +f.fields[1].name);
    const sorted = [...frames].sort((a, b) => bound(a) - bound(b));
    const times = sorted[0].fields[0].values;
    const counts = sorted.map((f, i) => times.map((_, k) => f.fields[1].values[k] - (i ? sorted[i - 1].fields[1].values[k] : 0)));
    const most = Math.max(...counts.flat()), left = 60, w = box.clientWidth - left - 14, h = box.clientHeight - 66;
    const canvas = element(box, 'canvas');
    Object.assign(canvas, { width: w, height: h });
    canvas.style.cssText = `position:absolute;left:${left}px;top:30px`;
    const g = canvas.getContext('2d'), ch = h / counts.length, cw = w / times.length;
    counts.forEach((row, i) => row.forEach((n, k) => {
      if (n <= 0) return;
      g.fillStyle = blend(VIRIDIS, Math.sqrt(n / most));
      g.fillRect(k * cw, h - (i + 1) * ch, cw + 0.5, ch - 1);
    }));
    sorted.forEach((f, i) => {
      element(box, 'div', f.fields[1].name, 'axis').style.cssText = `right:${box.clientWidth - left + 6}px;top:${30 + h - (i + 1) * ch + ch / 2 - 6}px`;
    });
    for (const share of [0, 0.25, 0.5, 0.75]) {
      const at = new Date(times[Math.floor(share * times.length)]).toTimeString().slice(0, 5);
      element(box, 'div', at, 'axis').style.cssText = `left:${left + share * w}px;bottom:16px`;
    }
  },
};

element(document.body, 'h1', BOARD.title);
const place = (e, { x, y, w, h }) => {
  const column = (BOARD.width - 16) / 24;
  e.style.cssText += `left:${8 + x * column + 4}px;top:${40 + y * BOARD.cell + 4}px;width:${w * column - 8}px;height:${h * BOARD.cell - 8}px`;
};
for (const row of BOARD.rows) place(element(document.body, 'div', `⌄ ${row.title}`, 'row'), row.gridPos);
for (const made of BOARD.panels) {
  const box = element(document.body, 'div', '', 'panel');
  place(box, made.panel.gridPos);
  element(box, 'div', made.title, 'title');
  draw[made.panel.type](box, made);
}
