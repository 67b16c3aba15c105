// The npm packages of package.json, which tests/grafana/install.sh puts into build/grafana-npm (no part of the repository).
import { createRequire } from 'node:module';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const home = path.join(root, 'build/grafana-npm/');

export function modulePath(name) {
  const found = path.join(home, 'node_modules', name);
  if (!fs.existsSync(found)) {
    console.log(`SKIPPED: no ${name} in ${home}: run tests/grafana/install.sh; the transformations of the dashboards are not tested`);
    process.exit(77);
  }
  return found;
}

export function grafanaData() {
  modulePath('@grafana/data');
  const data = createRequire(home)('@grafana/data');
  globalThis.window = { location: {} };  // its code asks for it, but only once loaded
  return data;
}
