"""Serve the page and a layout to a browser on this machine; with --headless, run Chromium and print what it found.

python serve.py layout/ [--headless] [--port N]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}


class Handler(SimpleHTTPRequestHandler):
    """Files of this folder, those of the layout below /layout/, and the page's result."""

    def __init__(self, *arguments, layout, result, **options):
        self.layout, self.result = layout, result
        super().__init__(*arguments, directory=str(HERE), **options)

    def translate_path(self, path):
        """Where a path of the page lies; as in the base, none leads out of the two folders."""
        if path.startswith("/layout/"):
            inside = super().translate_path(path.removeprefix("/layout"))
            return str(self.layout / Path(inside).relative_to(HERE))
        return super().translate_path(path)

    def guess_type(self, path):
        """The type of a file; a browser runs no module of another."""
        return TYPES.get(Path(path).suffix) or super().guess_type(path)

    def do_POST(self):
        """Take the page's result."""
        self.result.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def end_headers(self):
        """Isolate the page, so that it may use threads."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_):
        """Say nothing of each request."""


def memory(number):
    """Bytes of a process and all that it started, with its share of those that several hold."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    family, total = {number}, 0
    while len(family) < len(family := family | {child for child, parent in parents.items() if parent in family}):
        pass
    for member in family:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def main():
    """Serve until the page has sent its result; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layout", type=Path)
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--wait", type=float, default=600, help="seconds to wait for the result")
    options = parser.parse_args()
    result = {}
    handler = partial(Handler, layout=options.layout.resolve(), result=result)
    with ThreadingHTTPServer(("127.0.0.1", options.port), handler) as server:
        server.done = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"open {address}", flush=True)
        try:
            peak = headless(address, server.done, options.wait) if options.headless else server.done.wait(options.wait)
        finally:
            server.shutdown()
            thread.join()
    print(result.get("text", "no result"))
    if options.headless:
        print(f"{peak / 1e9:.2f} GB at most in Chromium")
    return 0 if result.get("agreed") else 1


def headless(address, done, wait):
    """Open a page in Chromium until it is done; the largest memory of all of Chromium's processes."""
    browser = next(filter(shutil.which, BROWSERS), None)
    if browser is None:
        raise SystemExit(f"needs one of {', '.join(BROWSERS)}")
    peak = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
        process = subprocess.Popen([browser, *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + wait
            while not done.wait(0.2) and process.poll() is None and time.monotonic() < end:
                peak = max(peak, memory(process.pid))
        finally:
            process.terminate()
            process.wait(30)
    return peak


if __name__ == "__main__":
    sys.exit(main())
