"""A Prometheus and a PostgreSQL of a test's own, filled with study.py, on loopback and in a temporary folder; gone with the test."""

import contextlib
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import study


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} after {seconds} s")
        time.sleep(0.05)


@contextlib.contextmanager
def _running(argv, log, **options):
    with open(log, "w") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@contextlib.contextmanager
def prometheus(now):
    """Yields its URL. Its newest samples are of `now`."""
    with tempfile.TemporaryDirectory(prefix="polymoe-grafana-") as folder:
        pathlib.Path(folder, "study.txt").write_text(study.openmetrics(now))
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", folder + "/study.txt", folder + "/tsdb"],
                       check=True, stdout=subprocess.DEVNULL)
        pathlib.Path(folder, "empty.yml").write_text("scrape_configs: []\n")
        log = pathlib.Path(folder, "log")
        with _running(["prometheus", "--config.file", folder + "/empty.yml", "--storage.tsdb.path", folder + "/tsdb",
                       "--web.listen-address", "127.0.0.1:0"], log):
            address = wait_until(lambda: re.search(r'msg="Listening on" address=(\S+)', log.read_text()), "Prometheus")[1]
            wait_until(lambda: "ready to receive" in log.read_text(), "Prometheus that is ready")
            yield "http://" + address


class Prometheus:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path, **parameters):
        """The data of an answer. Raises ValueError with Prometheus' own words."""
        body = urllib.parse.urlencode(parameters, doseq=True).encode()
        labels = path.startswith("label/")  # takes no POST
        request = urllib.request.Request(f"{self.url}/api/v1/{path}" + (f"?{body.decode()}" if labels else ""), None if labels else body)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{error} {error.read().decode(errors='replace')}") from error


def postgres_programs():
    """The folder of the newest PostgreSQL that is installed; None without."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    return os.path.dirname(found[-1]) if found and shutil.which("psql") else None


@contextlib.contextmanager
def postgres():
    """Yields a connection string for psql."""
    programs = postgres_programs()
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="polymoe-grafana-") as folder:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        subprocess.run([programs + "/initdb", "-D", folder + "/data", "-U", "polymoe", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **user)
        with _running([programs + "/postgres", "-D", folder + "/data", "-k", folder, "-c", "listen_addresses="], folder + "/log", cwd="/",
                      **user):
            where = f"host={folder} user=polymoe dbname=postgres"
            ready = ["psql", where, "-c", "SELECT 1"]
            wait_until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, "PostgreSQL")
            subprocess.run(["psql", where, "-q", "-v", "ON_ERROR_STOP=1"], input=study.sql(), text=True, check=True)
            yield where


class Postgres:
    def __init__(self, where):
        self.where = where

    def rows(self, sql):
        """A list of dictionaries. Raises ValueError with PostgreSQL's own words."""
        wrapped = f"SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM ({sql}) AS q"
        done = subprocess.run(["psql", self.where, "-At", "-v", "ON_ERROR_STOP=1", "-c", wrapped], capture_output=True, text=True)
        if done.returncode:
            raise ValueError(done.stderr.strip())
        return json.loads(done.stdout)
