"""The admin page in a browser: what it shows, what its buttons do, and that subjects stay text."""

import http.server
import shutil
import socket
import subprocess
import threading
import unittest

from chrome import Chrome, Page
from router import GOAWAY, Peer, Router

SCRIPT = "<script>document.title='run'</script>"
IMAGE = '"><img src=x onerror="document.title=\'run\'">'
TURNED = "exporter-\u202egnp.exe"

ROWS = "[...document.querySelectorAll('#rows tr')]"
SUBJECTS = f"{ROWS}.map(r => r.cells[1].textContent)"


def row(subject: str) -> str:
    return f"{ROWS}.find(r => r.cells[1].textContent === {subject!r})"


def cell(of: str, column: str) -> str:
    """The cell of a row in a column, by its class."""
    return f"{of}.querySelector('.c-{column}')"


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.router = Router()
        cls.addClassCleanup(cls.router.close)
        # A page of another origin, and a name that a stranger has made point here.
        cls.stranger = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
        threading.Thread(target=cls.stranger.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.stranger.server_close)
        cls.addClassCleanup(cls.stranger.shutdown)
        cls.chrome = Chrome(rules="MAP evil.test 127.0.0.1")
        cls.addClassCleanup(cls.chrome.close)

    def open(self, url: str | None = None) -> Page:
        page = Page(self.chrome)
        page.go(url or self.router.url)
        return page

    def pair(self, subject: str, router: Router | None = None) -> tuple[Peer, Peer]:
        first, second = Peer(router or self.router, subject), Peer(router or self.router, subject)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        first.send(b"hello")
        (router or self.router).wait_for_pair(subject)
        return first, second

    def test_live_streams_are_shown_sorted_filtered_and_ended(self):
        self.router.load("--workload", "bulk", "--pairs", "1", "--size", "20000")
        self.router.load("--workload", "idle", "--pairs", "3")
        self.router.load("--workload", "stall", "--pairs", "1", "--size", "20000")
        first, second = self.pair("lease-to-be-ended")
        waiting = Peer(self.router, "lease-alone")
        self.addCleanup(waiting.close)

        page = self.open()
        page.eventually("all rows", f"{ROWS}.length === 7")
        page.eventually("the figures", "document.querySelectorAll('#charts .key b')[2].textContent === '6'")
        self.assertEqual(page.run("document.getElementById('phase').textContent"), "ready")
        self.assertEqual(page.run("document.querySelectorAll('#charts .key b')[3].textContent"), "1")
        texts = {name: page.run(cell(row("lease-to-be-ended"), name) + ".innerText") for name in ("state", "peer", "bytes")}
        self.assertEqual(texts["state"], "paired")
        self.assertEqual(texts["peer"].split(), ["127.0.0.1", "127.0.0.1"])
        self.assertEqual(sorted(texts["bytes"].splitlines()), ["0 B", "12 B"])
        self.assertEqual(page.run(cell(row("lease-alone"), "state") + ".innerText"), "waiting")

        # The busiest first, by a click on the head of the column.
        page.eventually("a rate", "/[MG]B\\/s/.test(document.querySelector('#charts .key b').textContent)")
        page.click("document.querySelector('th[data-sort=rate] button')")
        page.eventually("the busy one on top", f"/[MG]B\\/s/.test({cell(f'{ROWS}[0]', 'rate')}.innerText)")
        self.assertEqual(page.run("document.querySelector('th[data-sort=rate]').ariaSort"), "descending")
        self.assertEqual(page.run("document.querySelector('th[data-sort=id]').ariaSort"), "none")
        page.click("document.querySelector('th[data-sort=stalled] button')")
        page.eventually("the stalled one on top", f"{ROWS}[0].className === 'stuck'")
        light = page.run("getComputedStyle(document.body).backgroundColor")
        page.scheme("dark")
        self.assertNotEqual(page.run("getComputedStyle(document.body).backgroundColor"), light)
        page.scheme("light")

        page.key("/", 191)
        page.type("TO-BE")
        page.eventually("one row", f"{SUBJECTS}.join() === 'lease-to-be-ended'")
        self.assertIn("1 of 1 that match", page.run("document.getElementById('count').textContent"))

        # First thoughts better of it.
        button = f"{row('lease-to-be-ended')}.querySelector('button')"
        page.click(button)
        page.eventually("the question", "document.getElementById('confirm').open")
        self.assertEqual(page.run("document.activeElement.id"), "no", "the harmless answer is at hand")
        asked = page.run("document.getElementById('confirm').innerText")
        self.assertIn("lease-to-be-ended", asked)
        self.assertIn("ABORTED: ended by an administrator", asked)
        page.key("Escape", 27)
        page.eventually("the question to go", "!document.getElementById('confirm').open")
        self.assertEqual(page.run(cell(row("lease-to-be-ended"), "state") + ".innerText"), "paired")

        page.click(button)
        page.eventually("the question", "document.getElementById('confirm').open")
        page.click("document.getElementById('yes')")
        page.eventually("the row to go", f"{ROWS}.length === 0")
        page.eventually("the word", "document.getElementById('message').textContent.endsWith('was ended.')")
        # Both peers were told, after what had been accepted.
        self.assertEqual(first.read_to_the_end(), GOAWAY)
        self.assertEqual(second.read_to_the_end(), bytes([0, 0, 0, 0, 7, 0x0A, 5]) + b"hello" + GOAWAY)
        record = self.router.line("stream ended", stream="lease-to-be-ended")
        self.assertEqual((record["reason"], record["status"]), ("administrator", "ABORTED"))
        # And nobody else.
        self.assertEqual(self.router.get("/api/status")["pairs"], 5)
        page.key("/", 191)
        page.key("Escape", 27)
        page.eventually("the others", f"{ROWS}.length === 6")
        self.assertEqual(page.run("[document.getElementById('filter').value, document.activeElement.tagName]"), ["", "BODY"])
        self.assertEqual(page.complaints(), [])

    def test_subjects_are_text_whatever_they_hold(self):
        for subject in (SCRIPT, IMAGE, TURNED):
            self.pair(subject)
        page = self.open()
        page.eventually("the rows", f"{SUBJECTS}.includes({SCRIPT!r}) && {SUBJECTS}.includes({IMAGE!r})")
        self.assertIn("exporter-\\u202egnp.exe", page.run(SUBJECTS))
        page.click(f"{row(IMAGE)}.querySelector('button')")
        page.eventually("the question", "document.getElementById('confirm').open")
        self.assertIn(IMAGE, page.run("document.getElementById('confirm').innerText"))
        self.assertTrue(page.run("document.title").endswith("Jumpstarter Router"))
        self.assertEqual(page.run("document.querySelectorAll('#rows img, #rows script, dialog img').length"), 0)
        # Even if the page itself were to make the mistake, its policy would not have it.
        script = "try { document.getElementById('message').innerHTML = '<img src=x>'; 'done' } catch (e) { e.name }"
        self.assertEqual(page.run(script), "TypeError")

    def test_everything_that_can_be_pressed_has_a_name(self):
        self.pair("named")
        page = self.open()
        page.eventually("the row", f"{SUBJECTS}.includes('named')")
        roles = {}
        for node in page.call("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if not node["ignored"] and role in ("button", "searchbox", "columnheader", "table", "region", "slider", "link", "row", "cell"):
                roles.setdefault(role, []).append(node["name"]["value"])
        # Cells have their text, or none.
        cells = roles.pop("cell")
        self.assertEqual(len(cells) % 10, 0, cells)
        rows = roles.pop("row")
        self.assertGreater(len(rows), 1)
        self.assertTrue(all(name for names in roles.values() for name in names), roles)
        self.assertIn("Filter", roles["searchbox"])
        self.assertEqual(len(roles["slider"]), 4)
        self.assertEqual(len(roles["columnheader"]), 10)
        self.assertTrue(any(name.startswith("End stream ") for name in roles["button"]), roles)

    def test_pages_of_others_cannot_reach_it(self):
        first, _ = self.pair("not-theirs")
        listed = self.router.get("/api/streams?q=not-theirs")["streams"]
        page = self.open(f"http://127.0.0.1:{self.stranger.server_address[1]}/")
        for path in ("api/drain", f"api/streams/{listed[0]['id']}/end"):
            for options in (
                "{method: 'POST', mode: 'no-cors', body: '{}', headers: {'Content-Type': 'text/plain'}}",
                "{method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}}",
            ):
                page.run(f"fetch('{self.router.url}{path}', {options}).catch(e => e.name)")
        got = page.run(f"fetch('{self.router.url}api/streams').then(r => r.text()).catch(e => e.name)")
        self.assertEqual(got, "TypeError", "it may not read")
        # The same host by a name of theirs is one origin to the browser, but not to the router.
        port = self.router.admin.rsplit(":", 1)[1]
        page.go(f"http://evil.test:{port}/")
        self.assertIn("must be an IP address or localhost", page.run("document.body.innerText"))
        # Nothing has happened.
        status = self.router.get("/api/status")
        self.assertEqual(status["phase"], "ready")
        self.assertEqual(self.router.get("/api/streams?q=not-theirs")["streams"][0]["state"], "paired")
        first.send(b"still there")

    @unittest.skipUnless(shutil.which("nats-server"), "there is no nats-server")
    def test_a_pair_at_two_routers_names_the_other_one(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = ["nats-server", "--addr", "127.0.0.1", "--port", str(port)]
        bus = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(bus.wait)
        self.addCleanup(bus.kill)
        routers = []
        for _ in range(2):
            router = Router(**{"cluster.servers": f"nats://127.0.0.1:{port}", "cluster.address": "127.0.0.1:0"})
            self.addCleanup(router.close)
            router.line("the routers' message bus is connected")
            routers.append(router)
        for router in routers:
            self.addCleanup(Peer(router, "apart").close)
        routers[0].wait_for_pair("apart")
        own, other = (router.get("/api/status")["cluster"]["router"] for router in routers)
        page = self.open(routers[0].url)
        page.eventually("the pair", f"{SUBJECTS}.join() === 'apart'")
        peer, far = page.run(cell(row("apart"), "peer") + ".innerText").splitlines()
        self.assertEqual(peer, "127.0.0.1")
        self.assertRegex(far, rf"^router {other} 127\.0\.0\.1(:\d+)?$")
        about = "document.getElementById('cluster')"
        page.eventually("the bus", f"{about}.className === 'dim'")
        self.assertIn(f"router {own} of a cluster, called at 127.0.0.1:", page.run(f"{about}.textContent"))
        bus.kill()
        page.eventually("that it is away", f"{about}.className === 'bad'")
        self.assertIn("bus not connected for", page.run(f"{about}.textContent"))
        self.assertEqual(page.complaints(), [])
        # A router that is alone says nothing of it.
        self.assertTrue(self.open().run(f"{about}.hidden"))

    def test_the_drain_by_click(self):
        router = Router(**{"drain.timeout": "1s"})
        self.addCleanup(router.close)
        first, _ = self.pair("last", router)
        page = self.open(router.url)
        page.eventually("the row", f"{SUBJECTS}.join() === 'last'")
        page.click("document.getElementById('drain')")
        page.eventually("the question", "document.getElementById('confirm').open")
        asked = page.run("document.getElementById('confirm').innerText")
        self.assertIn("drain.timeout 1s", asked)
        self.assertIn("UNAVAILABLE: the router is shutting down; connect again", asked)
        page.click("document.getElementById('yes')")
        page.eventually("the phase", "document.getElementById('phase').textContent === 'draining'")
        self.assertEqual(first.read_to_the_end(), GOAWAY)
        self.assertEqual(router.process.wait(20), 0)
        page.eventually("the word", "document.getElementById('banner').innerText.includes('It was draining')")


class Silent(http.server.BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    unittest.main()
