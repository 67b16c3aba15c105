// pictures.mjs FRAMES OUT: draws every dashboard from the frames that transform_test.mjs has left in FRAMES/drawn into OUT/grafana-NAME.png,
// with uPlot, which is what Grafana plots with, in headless Chromium (Debian: chromium), with the layout and the colours of Grafana's dark
// theme. It is not Grafana: it shows what the panels have to say and whether their settings fit, no more.
// Needs Debian's chromium and pngquant (not in deploy/install-deps.sh: 400 MB that only this script wants).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { modulePath, root } from './modules.mjs';

const [frames, out] = process.argv.slice(2);
if (!out) { console.error('usage: pictures.mjs FRAMES OUT'); process.exit(2); }
const here = path.dirname(new URL(import.meta.url).pathname);
const uplot = modulePath('uplot');
const width = 1400, cell = 34;

const drawn = {};
for (const file of fs.readdirSync(path.join(frames, 'drawn'))) {
  const made = JSON.parse(fs.readFileSync(path.join(frames, 'drawn', file)));
  (drawn[made.dashboard] ??= []).push(made);
}

// Scripts in a page end at the first </script>, also within a string.
const inline = (file) => `<script>${fs.readFileSync(file, 'utf8').replaceAll('</script', '<\\/script')}</script>`;

function page(board, panels) {
  const rows = board.panels.filter((p) => p.type === 'row');
  const data = JSON.stringify({ title: board.title, rows, panels, width, cell }).replaceAll('<', '\\u003c');
  return `<!DOCTYPE html><meta charset="utf-8"><title>${board.title}</title>
<style>${fs.readFileSync(path.join(uplot, 'dist/uPlot.min.css'), 'utf8')}${fs.readFileSync(path.join(here, 'picture.css'), 'utf8')}</style>
<body>${inline(path.join(uplot, 'dist/uPlot.iife.min.js'))}<script>const BOARD = ${data};</script>${inline(path.join(here, 'picture.js'))}</body>`;
}

fs.mkdirSync(out, { recursive: true });
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'polymoe-pictures-'));
let failed = 0;
for (const [uid, panels] of Object.entries(drawn)) {
  const name = uid.replace('polymoe-', '');
  const board = JSON.parse(fs.readFileSync(path.join(root, 'deploy/grafana/dashboards', `${name}.json`)));
  const height = 44 + cell * Math.max(...[...board.panels, ...panels.map((p) => p.panel)].map((p) => p.gridPos.y + p.gridPos.h));
  const html = path.join(work, `${name}.html`), png = path.join(out, `grafana-${name}.png`);
  fs.writeFileSync(html, page(board, panels));
  const shot = spawnSync('chromium', ['--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', `--user-data-dir=${work}/profile`,
    '--proxy-server=127.0.0.1:9', '--virtual-time-budget=3000', '--enable-logging=stderr', `--window-size=${width},${height}`,
    `--screenshot=${png}`, `file://${html}`], { encoding: 'utf8' });
  const complaints = (shot.stderr ?? String(shot.error)).split('\n').filter((l) => /CONSOLE.*Error/.test(l));
  if (complaints.length || !fs.existsSync(png)) { ++failed; console.log(`FAILED ${name}:`, ...complaints, shot.error ?? ''); continue; }
  spawnSync('pngquant', ['--force', '--output', png, '64', png], { stdio: 'inherit' });
  console.log(`${png}: ${panels.length} panels, ${Math.round(fs.statSync(png).size / 1024)} kB`);
}
fs.rmSync(work, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
