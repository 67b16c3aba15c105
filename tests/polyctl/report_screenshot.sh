#!/usr/bin/env bash
# report_screenshot.sh OUT_DIR [REPORT.html]: pictures of a report in headless Chromium, to be looked at: wide and narrow, light and dark,
# without a network. Without REPORT the sample of the render tests. Fails when the page asks for
# anything, is wider than the window, logs an error, or its legend does not hide and show.
# Needs Debian's chromium (not in deploy/install-deps.sh: 400 MB that only this script wants).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:?usage: report_screenshot.sh OUT_DIR [REPORT.html]}
mkdir -p "$out"
page=${2-}
if [[ -z $page ]]; then
  page=$out/sample.html
  POLYMOE_SAMPLE_REPORT=$page "$root/build/${POLYMOE_PRESET:-release}/tests/polyctl_render_test" \
    --gtest_filter=HtmlReport.IsWrittenForTheEye >/dev/null
fi
command -v chromium >/dev/null || { echo "report_screenshot: no chromium here: apt-get install chromium" >&2; exit 1; }
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT

# shot NAME WIDTH HEIGHT URL [FLAG...]
shot() {
  local name=$1 width=$2 height=$3 url=$4
  shift 4
  # A headless window is not narrower than 500, so a narrow page is looked at in a frame (frame.html).
  chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" --proxy-server=127.0.0.1:9 \
    --allow-file-access-from-files --virtual-time-budget=2000 --window-size="$width,$height" --screenshot="$out/$name.png" \
    --enable-logging=stderr --v=0 "$@" "$url" >"$out/$name.log" 2>&1
  if grep -E 'CONSOLE.*(Error|Refused|Failed)|ERR_' "$out/$name.log" | grep -v 'ERR_PROXY_CONNECTION_FAILED.*google'; then
    echo "report_screenshot: $name: the lines above are what the page complained of" >&2
    exit 1
  fi
}

url=file://$(realpath "$page")
frame=$out/frame.html
cat >"$frame" <<HTML
<!DOCTYPE html><meta charset="utf-8"><style>body{margin:0}iframe{border:0;width:400px;height:5200px;display:block}</style>
<iframe id="f" src="$url"></iframe>
<script>document.getElementById('f').onload = e => {
  const d = e.target.contentDocument.documentElement;
  if (d.scrollWidth > 400) console.error('Error: wider than the window: ' + d.scrollWidth);
  const button = d.querySelector('button[data-series="1"]'), parts = [...d.querySelectorAll('.series-1')];
  button.focus();
  if (d.ownerDocument.activeElement !== button) console.error('Error: the legend cannot be focused');
  button.click();  // what Enter and the space bar do to a button
  if (!parts.length || parts.some(p => !p.classList.contains('off'))) console.error('Error: the legend hides nothing');
  button.click();
  if (parts.some(p => p.classList.contains('off'))) console.error('Error: the legend shows nothing again');
  button.blur();
}</script>
HTML
dark=--blink-settings=preferredColorScheme=0
shot light_1400 1400 3900 "$url"
shot dark_1400 1400 3900 "$url" $dark
shot light_400 500 5200 "file://$(realpath "$frame")"
shot dark_400 500 5200 "file://$(realpath "$frame")" $dark
echo "look at $out/*.png"
