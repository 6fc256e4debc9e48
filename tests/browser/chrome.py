"""A headless browser, driven over the DevTools protocol through a pipe, so that no library is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PATIENCE = 20


class Chrome:
    """One browser process. `rules`: names that lead elsewhere, as for --host-resolver-rules."""

    def __init__(self, rules: str = ""):
        self.profile = tempfile.mkdtemp(prefix="router-browser-")
        # The browser reads commands from descriptor 3 and writes answers to 4, each ended by a zero byte.
        commands, self.out = os.pipe()
        self.inn, answers = os.pipe()
        flags = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions "
            "--disable-background-networking --disable-component-update --hide-scrollbars --remote-debugging-pipe"
        )
        command = [os.environ["CHROME"], *flags.split(), f"--user-data-dir={self.profile}"]
        if rules:
            command.append(f"--host-resolver-rules={rules}")

        def descriptors():
            # First out of the way: either may be 3 or 4 itself.
            read, write = os.dup(commands), os.dup(answers)
            while read in (3, 4):
                read = os.dup(read)
            while write in (3, 4):
                write = os.dup(write)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.process = subprocess.Popen(
            command, preexec_fn=descriptors, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self.buffer = b""
        self.last = 0
        self.events: list[dict] = []

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.inn)
        shutil.rmtree(self.profile, ignore_errors=True)

    def message(self, deadline: float) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.inn], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError("the browser does not answer")
            part = os.read(self.inn, 1 << 20)
            if not part:
                raise AssertionError("the browser is gone")
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method: str, session: str | None = None, **params) -> dict:
        """Sends a command and returns its result; events that come meanwhile are kept."""
        self.last += 1
        command = {"id": self.last, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.message(deadline)
            if message.get("id") == self.last:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)


class Page:
    """One tab."""

    def __init__(self, chrome: Chrome, width: int = 1280, height: int = 620):
        self.chrome = chrome
        self.target = chrome.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = chrome.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **params) -> dict:
        return self.chrome.call(method, self.session, **params)

    def close(self) -> None:
        self.chrome.call("Target.closeTarget", targetId=self.target)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.eventually("the page to load", "document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str):
        """The value of an expression; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def eventually(self, what: str, script: str):
        """Waits until the expression is true, and returns its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.run(script)):
            if time.monotonic() > deadline:
                self.shoot(Path(tempfile.gettempdir()) / "router-browser-failure.png")
                raise AssertionError(f"waited in vain for {what}: {script}; the page: {self.run('document.body.innerText')}")
            time.sleep(0.05)
        return value

    def click(self, element: str) -> None:
        """Clicks with the mouse where the element is, as a user would."""
        script = f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
        place = self.run(script + f"return [r.x + r.width / 2, r.y + r.height / 2] }})({element})")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def key(self, key: str, code: int, shift: bool = False) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0, text=text if kind == "keyDown" else "",
            )  # fmt: skip

    def hover(self, element: str, part: float = 0.5) -> None:
        """Points at the element, this far from its left end."""
        script = f"(e => {{ const r = e.getBoundingClientRect(); return [r.x + r.width * {part}, r.y + r.height / 2] }})({element})"
        x, y = self.run(script)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def scheme(self, name: str) -> None:
        """`light` or `dark`, as the system would say."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def shoot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What the console shows as errors, such as violations of the page's policy, and uncaught exceptions."""
        self.run("0")
        found = []
        for event in self.chrome.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
        return found
