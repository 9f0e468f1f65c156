"""Chromium without a window, driven by the DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any


@dataclass
class Browser:
    """One page."""

    sending: IO[bytes]
    answers: int
    pending: bytearray = field(default_factory=bytearray)
    session: str = ""
    number: int = 0
    #: What the console was told, what was thrown, and every address that was asked for.
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.sending.write(json.dumps(message).encode() + b"\0")
        self.sending.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while (end := self.pending.find(b"\0")) < 0:
            piece = os.read(self.answers, 2**20)
            assert piece, "the browser ended"
            self.pending += piece
        message: dict[str, Any] = json.loads(self.pending[:end])
        del self.pending[: end + 1]
        method, found = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.console.append(str(found["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(f"{found['entry']['text']} {found['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        return message

    def open(self, address: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.size(1200)
        self.call("Page.navigate", url=address)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    def size(self, width: int, height: int = 1000) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def js(self, expression: str) -> Any:
        """The value of an expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not self.js(f"Boolean(document.body) && ({condition})"):
            assert time.monotonic() < end, (condition, self.console)
            time.sleep(0.02)

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)
            text = ""

    def drop(self, files: Sequence[Path], selector: str) -> None:
        """Drop files as from the file manager."""
        self.js(f"{selector}.scrollIntoView()")
        x, y = self.js(f"(({{x, y, width}}) => [x + width / 2, y + 20])({selector}.getBoundingClientRect())")
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, identifier: str, files: Sequence[Path]) -> None:
        """Choose files in an input."""
        node = self.call("Runtime.evaluate", expression=f"document.getElementById('{identifier}')")["result"]
        self.call("DOM.setFileInputFiles", objectId=node["objectId"], files=[str(file) for file in files])

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
    to_read, sending = os.pipe()
    answers, to_write = os.pipe()
    arguments = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}"),
    ]
    # The pipe is at the descriptors 3 and 4.
    script = f"exec {shlex.join(arguments)} 3<&{to_read} 4>&{to_write}"
    process = subprocess.Popen(
        ["bash", "-c", script], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_write)
    with open(sending, "wb") as send, open(answers, "rb") as receive:
        driven = Browser(send, receive.fileno())
        try:
            yield driven
            driven.session = ""
            driven.call("Browser.close")
        finally:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
