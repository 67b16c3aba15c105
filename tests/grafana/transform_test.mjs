// transform_test.mjs FRAMES: runs the transformations of every panel over the frames that query_test.py --out has left in
// FRAMES, with Grafana's own code (npm @grafana/data), and asserts what the panel that draws them wants. What comes out goes to
// FRAMES/drawn/, for pictures.mjs. Where FRAMES/figures is (study.py final), panels must show those figures.
// Exit status 77: tests/grafana/install.sh has not been run, so nothing was tested.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { grafanaData } from './modules.mjs';

const data = grafanaData();
for (const t of Object.values(data.standardTransformers)) {
  if (!data.standardTransformersRegistry.getIfExists(t.id)) {
    data.standardTransformersRegistry.register({ id: t.id, name: t.name ?? t.id, transformation: () => Promise.resolve(t) });
  }
}

// Lives in the Grafana application, not in the package: this is what it does with {fields: [one], keepFields: false, naming: asLabels}.
function partitionByValues(frames, { fields: [by] }) {
  return frames.flatMap((frame) => {
    const key = frame.fields.find((f) => f.name === by).values;
    return [...new Set(key)].map((value) => {
      const rows = key.flatMap((k, i) => (k === value ? [i] : []));
      const fields = frame.fields.filter((f) => f.name !== by)
        .map((f) => ({ ...f, state: undefined, values: rows.map((i) => f.values[i]), labels: { ...f.labels, [by]: value } }));
      return { ...frame, fields, length: rows.length };
    });
  });
}

async function transformed(panel, frames) {
  let now = frames.map((f) => data.toDataFrame(f));
  for (const { id, options } of panel.transformations) {
    if (id === 'partitionByValues') { now = partitionByValues(now, options); continue; }
    assert(data.standardTransformersRegistry.getIfExists(id), `Grafana has no transformation ${id}`);
    now = await new Promise((resolve, reject) =>
      data.transformDataFrame([{ id, options }], now).subscribe({ next: resolve, error: reject }));
  }
  return now;
}

// Each field as it is shown: its name, and the properties that defaults and overrides give it.
function shown(panel, frames) {
  return frames.map((frame) => ({
    refId: frame.refId, name: frame.name,
    fields: frame.fields.map((f) => {
      const properties = Object.entries(panel.fieldConfig.defaults.custom ?? {}).map(([k, v]) => [`custom.${k}`, v]);
      for (const o of panel.fieldConfig.overrides) {
        const matches = data.fieldMatchers.get(o.matcher.id).get(o.matcher.options);
        if (matches(f, frame, frames)) properties.push(...o.properties.map((p) => [p.id, p.value]));
      }
      return { name: data.getFieldDisplayName(f, frame, frames), raw: f.name, type: f.type, labels: f.labels, values: [...f.values],
               properties: Object.fromEntries(properties) };
    }),
  }));
}

function ascends(values, strictly) {
  return values.every((v, i) => typeof v === 'number' && Number.isFinite(v) && (i === 0 || (strictly ? v > values[i - 1] : v >= values[i - 1])));
}

const asserts = {
  trend({ fieldConfig }, frames) {
    assert.equal(frames.length, 1, 'a Trend panel takes one frame');
    const [x, ...ys] = frames[0].fields;
    assert.equal(x.type, 'number', 'x is a number');
    assert(ascends(x.values, true), `x ascends: ${x.values.slice(0, 8)}`);
    assert.equal(x.properties.unit, 'sishort', 'the override of x matches it');
    const names = new Set(ys.map((y) => y.name));
    const lines = ys.filter((y) => !/ (min|max)$/.test(y.name));
    assert(lines.length > 0 && ys.every((y) => y.type === 'number'));
    for (const { name, properties } of lines) {
      assert(names.has(`${name} min`) && names.has(`${name} max`), `${name} has a band`);
      if (!properties.color) continue;
      const top = ys.find((y) => y.name === `${name} max`).properties;
      assert.equal(top['custom.fillBelowTo'], `${name} min`, 'the band of a known arm is filled');
      assert.deepEqual(top.color, properties.color);
    }
    for (const y of ys) assert(y.values.some((v) => v !== null), `${y.name} has values`);
  },
  xychart({ options }, frames) {
    const one = (frame, { matcher: { options: pattern } }) => {
      const found = frame.fields.filter((f) => data.stringToJsRegex(pattern).test(f.name));
      assert.equal(found.length, 1, `${pattern} is one field of ${frame.fields.map((f) => f.name)}`);
      return found[0];
    };
    for (const frame of frames) {
      assert(ascends(one(frame, options.series[0].x).values, false), 'x ascends');
      assert(one(frame, options.series[0].y).values.every(Number.isFinite), 'an XY chart draws nulls as 0');
    }
  },
  table({ fieldConfig }, frames) {
    assert.equal(frames.length, 1, 'a table shows one frame');
    const names = frames[0].fields.map((f) => f.name);
    assert.equal(new Set(names).size, names.length, `columns: ${names}`);
    for (const name of names) assert(!/^Value|^Time|\((last|min)\)$/.test(name), `a column is called ${name}`);
    const raw = frames[0].fields.map((f) => f.name).concat(frames[0].fields.map((f) => f.raw));
    for (const { matcher } of fieldConfig.overrides) {
      if (matcher.id === 'byName') assert(raw.includes(matcher.options), `an override for ${matcher.options}, but there are ${names}`);
    }
  },
};

// Panels whose figures are known: a table with a row an arm, and the curves' last values and bands.
function near(got, want, what) {
  assert(Math.abs(got - want) < 1e-9, `${what}: ${got} is not ${want}`);
}

const figuresOf = {
  'At equal tokens: validation loss'(fields, want) {
    assert.deepEqual([...fields.arm].sort(), Object.keys(want).sort());
    fields.arm.forEach((arm, i) => {
      for (const name of ['tokens', 'mean', 'sd', 'runs', 'difference', 'sd of difference']) near(fields[name][i], want[arm][name], `${arm} ${name}`);
    });
  },
  'Validation loss over tokens'(fields, want) {
    for (const [arm, w] of Object.entries(want)) {
      const at = fields['tokens\\series'].indexOf(w.tokens);
      near(fields[arm][at], w.mean, arm);
      for (const edge of ['min', 'max']) near(fields[`${arm} ${edge}`][at], w[edge], `${arm} ${edge}`);
    }
  },
  'Difference to the baseline'(fields, want) {
    for (const [arm, w] of Object.entries(want)) near(fields[arm][fields['tokens\\series'].indexOf(w.tokens)], w.difference, arm);
  },
};

const dir = process.argv[2], figures = path.join(dir, 'figures');
const want = fs.existsSync(figures) && JSON.parse(fs.readFileSync(figures));
const drawn = path.join(dir, 'drawn');
fs.rmSync(drawn, { recursive: true, force: true });
fs.mkdirSync(drawn);
let failed = 0, count = 0, checked = 0;
for (const file of fs.readdirSync(dir).filter((f) => f.endsWith('.json')).sort()) {
  const { dashboard, panel, title, frames } = JSON.parse(fs.readFileSync(path.join(dir, file)));
  ++count;
  try {
    const made = { dashboard, panel, title, frames: shown(panel, await transformed(panel, frames)) };
    assert(made.frames.length > 0 && made.frames.every((f) => f.fields[0].values.length > 0), 'nothing is left');
    asserts[panel.type]?.(panel, made.frames);
    if (want && figuresOf[title]) {
      figuresOf[title](Object.fromEntries(made.frames[0].fields.map((f) => [f.name, f.values])), want);
      ++checked;
    }
    fs.writeFileSync(path.join(drawn, file), JSON.stringify(made));
  } catch (error) {
    ++failed;
    console.log(`FAILED ${dashboard}: ${title}: ${error.message}`);
  }
}
console.log(`${count} panels: ${failed} failed; ${checked} have the figures that they must`);
process.exit(failed > 0 || count === 0 || (want && checked !== Object.keys(figuresOf).length) ? 1 : 0);
