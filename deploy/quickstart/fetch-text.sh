#!/usr/bin/env bash
# Real English text, several domains, from the documentation that Debian packages ship.
#   deploy/quickstart/fetch-text.sh OUT_DIR [MAX_BYTES_PER_DOMAIN]
# Makes OUT_DIR/DOMAIN/*.txt. Needs no root: the packages are unpacked beside, not installed. Domains that are there are kept.
set -euo pipefail

out=$(realpath -m "$1") limit=${2:-4000000}
work=$out/.work
mkdir -p "$work"

# unpack PACKAGE: prints the folder that it was unpacked to.
unpack() {
  local folder=$work/$1
  if [[ ! -e $folder.done ]]; then
    (cd "$work" && apt-get download -qq "$1" >/dev/null 2>"$work/$1.log") || {
      cat "$work/$1.log" >&2
      echo "fetch-text: cannot download $1; run 'apt-get update' (or leave out --skip-install) and try again" >&2
      return 1
    }
    dpkg-deb -x "$work/$1"_*.deb "$folder"
    rm "$work/$1"_*.deb
    touch "$folder.done"
  fi
  echo "$folder"
}

strip_html() { sed -e 's/<[^>]*>//g' -e 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&nbsp;/ /g; s/&#[0-9]*;//g; s/&amp;/\&/g' | cat -s; }

# collect DOMAIN PATTERN FILTER FOLDER: files matching the pattern, filtered, up to the limit, one text file each.
collect() {
  local domain=$1 pattern=$2 filter=$3 folder=$4 bytes=0 n=0 file
  rm -rf "$work/$domain.new" && mkdir -p "$work/$domain.new"
  # Spread over the alphabet (sorted by checksum of the name), so that a limit does not cut off one end.
  while read -r _ _ file; do
    $filter <"$folder/$file" >"$work/$domain.new/$(printf %05d $n).txt"
    bytes=$((bytes + $(stat -c %s "$work/$domain.new/$(printf %05d $n).txt")))
    n=$((n + 1))
    ((bytes < limit)) || break
  done < <(cd "$folder" && find . -type f -path "$pattern" -print | LC_ALL=C sort | while read -r f; do
    echo "$(cksum <<<"$f") $f"
  done | sort -n)
  ((n > 0)) || { echo "fetch-text: no file of $domain matches $pattern" >&2; return 1; }
  mv "$work/$domain.new" "$out/$domain"
  printf '  %-11s %5d files %8d bytes\n' "$domain" "$n" "$bytes"
}

have() { [[ -d $out/$1 ]]; }

python_doc=$(apt-cache search --names-only '^python3\.[0-9]+-doc$' | cut -d' ' -f1 | sort -V | tail -1)
have python || collect python '*/_sources/*.rst.txt' cat "$(unpack "${python_doc:-python3.11-doc}")"
have politics || collect politics '*.html' strip_html "$(unpack anarchism)"
have perl || collect perl '*.pod' cat "$(unpack perl-doc)"
have dictionary || {
  folder=$(unpack dict-gcide)
  zcat "$folder"/usr/share/dictd/gcide.dict.dz >"$work/gcide.txt"
  mkdir -p "$work/gcide" && (cd "$work/gcide" && rm -f ./* && split -b 200000 -a 4 "$work/gcide.txt" part- && rm "$work/gcide.txt")
  collect dictionary '*/part-*' cat "$work/gcide"
}
have jargon || collect jargon '*/jargon.txt.gz' zcat "$(unpack jargon-text)"
