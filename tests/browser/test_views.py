"""The page's views against a real router: one stream, the past, the settings; its death, its tokens, a proxy before it."""

import unittest

from chrome import Chrome, Page
from proxy import Proxy
from router import GOAWAY, Peer, Router
from stage import Stage, configuration

SUBJECTS = "[...document.querySelectorAll('#rows .c-subject a')].map(a => a.textContent)"
STATE = "document.getElementById('detail-state').textContent"
TIMELINE = "document.getElementById('timeline').innerText"
PAST = "[...document.querySelectorAll('#past-rows tr')].map(r => r.innerText)"


class Views(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chrome = Chrome()
        cls.addClassCleanup(cls.chrome.close)

    def router(self, **settings: str) -> Router:
        router = Router(**settings)
        self.addCleanup(router.close)
        return router

    def open(self, url: str) -> Page:
        page = Page(self.chrome, height=900)
        self.addCleanup(page.close)
        page.go(url)
        return page

    def pair(self, router: Router, subject: str) -> tuple[Peer, Peer]:
        first, second = Peer(router, subject), Peer(router, subject)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        first.send(b"hello")
        router.wait_for_pair(subject)
        return first, second

    def test_one_stream_from_its_row_to_its_end(self):
        router = self.router()
        first, second = self.pair(router, "watched")
        self.assertEqual(router.put("/api/names/watched", {"client": "alice", "exporter": "rpi-4", "lease": "lease-9"}), 204)
        page = self.open(router.url)
        page.eventually("its names", f"{SUBJECTS}.join() === 'alice → rpi-4'")
        # By keys: the link of the row, then Enter.
        page.run("document.querySelector('#rows a').focus()")
        page.key("Enter", 13)
        page.eventually("the stream", f"{STATE} === 'paired'")
        number = router.get("/api/streams")["streams"][0]["id"]
        self.assertEqual(page.run("location.hash"), f"#stream/{number}")
        facts = page.run("document.getElementById('detail-facts').innerText")
        for fact in ("watched", "alice", "rpi-4", "lease-9"):
            self.assertIn(fact, facts)
        self.assertRegex(page.run(TIMELINE), r"Arrived \d\d:\d\d:\d\d\s+from 127\.0\.0\.1\s+Paired \d\d:\d\d:\d\d\s+after [\d.]+ s with 127\.0\.0\.1\s+Now\s+paired for ")
        self.assertRegex(page.run("document.querySelector('#timeline time').title"), r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ UTC$")
        sides = page.run("[...document.querySelectorAll('#sides tr')].map(r => [...r.cells].map(c => c.textContent))")
        self.assertIn(["Address", "127.0.0.1", "127.0.0.1"], sides)
        self.assertIn(["Certificate", "none shown", "none shown"], sides)
        # Either may have been the first.
        received = next(row for row in sides if row[0] == "Received from it")
        self.assertEqual(sorted(received[1:]), ["0 B in 0 messages", "12 B in 1 message"])
        self.assertIn(["Window", "131 kB", "131 kB"], sides)
        page.eventually("a rate over time", "document.querySelector('#detail-chart path.line').getAttribute('d')?.includes('L')")
        # It ends while it is looked at: the page goes on with its record.
        page.click("document.getElementById('detail-end')")
        page.eventually("the question", "document.getElementById('confirm').open")
        page.click("document.getElementById('yes')")
        page.eventually("its end", f"{STATE} === 'ended'")
        self.assertEqual(first.read_to_the_end(), GOAWAY)
        self.assertRegex(page.run(TIMELINE), r"Ended \d\d:\d\d:\d\d\s+by the router, administrator, after ")
        self.assertIn("ABORTED: ended by an administrator", page.run("document.getElementById('detail-facts').innerText"))
        self.assertFalse(page.run("document.getElementById('detail-end').checkVisibility()"))
        # The link leads there later, too, and Escape leads back.
        page.call("Page.reload")
        page.eventually("its end", f"document.getElementById('detail-state')?.textContent === 'ended'")
        page.key("Escape", 27)
        page.eventually("the list", "location.hash === '#streams' && document.getElementById('live').checkVisibility()")
        page.run(f"location.hash = '#stream/{number + 1000}'")
        page.eventually("the word", "document.getElementById('detail-word').innerText.includes('does not know it')")

    def test_the_past_says_who_ended_what_and_why(self):
        router = self.router()
        first, second = self.pair(router, "lost-lease")
        for _ in range(3):
            stranger = Peer(router, "nobody", bearer="no.real.token")
            self.addCleanup(stranger.close)
        first.close()
        page = self.open(f"{router.url}#past")
        page.eventually("both", f"{PAST}.length === 2")
        ended, refused = sorted(page.run(PAST), key=lambda text: "refused" in text)
        self.assertRegex(ended, r"\d\d:\d\d:\d\d\s+ended\s+lost-lease\s+#\d+\s+the (first|second) side \(127\.0\.0\.1\)\s+lost ")
        self.assertIn("12 B", ended)
        self.assertRegex(refused, r"refused × 3\s+\(token not believed\)\s+the router\s+")
        self.assertRegex(page.run("document.querySelector('#past-rows time').title"), r" UTC$")
        page.key("/", 191)
        self.assertEqual(page.run("document.activeElement.id"), "past-filter")
        page.type("LOST-LEASE")
        page.eventually("one", f"{PAST}.length === 1")
        self.assertEqual(page.run("document.getElementById('past-count').textContent"), "1 of 1 that match, 2 kept")
        # What is searched for is in the address, so that it can be handed on.
        self.assertEqual(page.run("location.hash"), "#past?q=LOST-LEASE")
        page.key("Escape", 27)
        page.eventually("both", f"{PAST}.length === 2")
        page.run("document.getElementById('past-kind').value = 'refused'; document.getElementById('past-kind').dispatchEvent(new Event('change'))")
        page.eventually("the refusal", f"{PAST}.length === 1 && {PAST}[0].includes('refused')")
        page.click("document.querySelector('#past-rows tr .c-why')")
        page.eventually("its record", f"{STATE} === 'refused'")
        self.assertRegex(page.run(TIMELINE), r"First refused .*\s+from 127\.0\.0\.1\s+Last refused .*\s+.*, 3 times")
        page.click("document.getElementById('back')")
        page.eventually("the past", "document.getElementById('past').checkVisibility()")
        self.assertEqual(page.complaints(), [])

    def test_settings_certificates_and_no_secret(self):
        router = self.router(**{"tls.plaintext": "false", "pairing.timeout": "3m"})
        page = self.open(f"{router.url}#settings")
        rows = "[...document.querySelectorAll('#settings-rows tr')].map(r => [...r.cells].map(c => c.firstChild.textContent))"
        page.eventually("the settings", f"{rows}.length > 50")
        shown = page.run(rows)
        self.assertIn(["pairing.timeout", '"3m"', "flag --set", "at once"], shown)
        self.assertIn(["tls.client_ca", "not set", "default", "at once"], shown)
        self.assertNotIn("signing key, 32", page.run("document.documentElement.outerHTML"))
        self.assertIn(["auth.key", '"(hidden)"'], [row[:2] for row in shown])
        self.assertTrue(any(row[0] == "listen.address" and row[3] == "needs a restart" for row in shown))
        page.click("document.getElementById('settings-set')")
        page.eventually("those that are set", f"{rows}.length < 12 && {rows}.every(r => r[2] !== 'default')")
        page.key("/", 191)
        page.type("PAIRING")
        page.eventually("one", f"{rows}.length === 1")
        self.assertRegex(page.run("document.getElementById('settings-count').textContent"), r"^1 of \d+$")
        certificates = page.run("document.getElementById('certificates').innerText")
        self.assertRegex(certificates, r"(?s)Ends in \d+ days.*on \d+ \w+ \d{4}.*self-signed, made at the start")
        self.assertIn(router.get("/api/status")["process"]["id"], page.run("document.getElementById('facts').innerText"))

    def test_a_killed_router_and_the_next_one(self):
        router = self.router()
        self.pair(router, "before")
        page = self.open(router.url)
        page.eventually("the row", f"{SUBJECTS}.join() === 'before'")
        old = router.get("/api/status")["process"]["id"]
        router.kill()
        page.eventually("the banner", "document.getElementById('banner').innerText.includes('No answer from the router')")
        self.assertEqual(page.run("document.getElementById('phase').textContent"), "no answer")
        self.assertIn("it cannot be reached", page.run("document.getElementById('banner').innerText"))
        self.assertTrue(page.run("document.title").startswith("⚠"))
        # What was known stays to be read.
        self.assertEqual(page.run(SUBJECTS), ["before"])
        following = self.router(**{"listen.admin_address": router.admin})
        page.eventually("the next one", "document.getElementById('phase').textContent === 'ready'")
        self.assertEqual(page.run(SUBJECTS), [])
        note = page.run("document.getElementById('process').innerText")
        self.assertIn("Another process answers since ", note)
        self.assertIn(old, note)
        self.assertIn(following.get("/api/status")["process"]["id"], note)

    def test_tokens_of_both_kinds(self):
        full, read = "0123456789abcdef", "fedcba9876543210"
        router = self.router(**{"admin.token": full, "admin.read_token": read})
        self.pair(router, "behind-a-token")
        for given, may in ((read, False), (full, True)):
            page = self.open(router.url)
            page.eventually("the question", "document.getElementById('login').open")
            self.assertEqual(page.run(SUBJECTS), [])
            for typed in ("wrong-token-of-16", given):
                page.run("document.getElementById('token').value = ''")
                page.type(typed)
                page.key("Enter", 13)
                if typed != given:
                    page.eventually("the word", "document.getElementById('login-says').textContent.startsWith('Wrong token')")
            page.eventually("the row", f"{SUBJECTS}.join() === 'behind-a-token'")
            self.assertEqual(page.run("document.querySelector('#rows button').checkVisibility()"), may)
            self.assertEqual(page.run("document.getElementById('access').checkVisibility()"), not may)
            self.assertNotIn(given, page.run("document.documentElement.outerHTML"))

    def test_below_a_path_of_a_proxy(self):
        router = self.router()
        first, second = self.pair(router, "far-away")
        proxy = Proxy("/labs/router", router.admin)
        self.addCleanup(proxy.close)
        for url in (proxy.url, f"{proxy.url}/", f"{proxy.url}?tab=1"):
            page = self.open(url)
            page.eventually("the row", f"{SUBJECTS}.join() === 'far-away'")
            self.assertEqual(page.complaints(), [])
        page.click("document.querySelector('#rows button')")
        page.eventually("the question", "document.getElementById('confirm').open")
        page.click("document.getElementById('yes')")
        self.assertEqual(first.read_to_the_end(), GOAWAY)
        page.run("location.hash = '#past'")
        page.eventually("its record", f"{PAST}.length === 1")
        self.assertEqual([path for path in proxy.asked if not path.startswith("/labs/router") and path != "/favicon.ico"], [])

    def test_the_stage_answers_as_a_router_does(self):
        """All keys of all answers, so that what is tested against the stage holds for the router."""
        router = self.router(**{"tls.plaintext": "false"})
        plain = self.router()
        self.pair(plain, "a-pair")
        self.addCleanup(Peer(plain, "nobody", bearer="no.real.token").close)
        first, _ = self.pair(plain, "another")
        first.close()
        page = self.open(plain.url)
        page.eventually("the past", "ask('api/past').then(past => past.total === 2)")
        stage = Stage(past=5)
        self.addCleanup(stage.close)
        for real, staged in (
            (router.get("/api/status"), stage.about("full")),
            (plain.get("/api/streams"), stage.listing({"limit": "1"})),
            (plain.get("/api/history"), stage.history({})),
            (plain.get("/api/config"), configuration()),
        ):
            self.assertEqual(keys(real), keys(staged))
        for kind in ("ended", "refused"):
            self.assertEqual(keys(plain.get(f"/api/past?kind={kind}")), keys(stage.ended({"kind": kind})))


def keys(answer) -> object:
    """Its keys, and those within; of a list, those of its first element. What may be null is not looked into."""
    if isinstance(answer, dict):
        return {name: None if name in ("names", "cluster", "router") else keys(value) for name, value in sorted(answer.items())}
    if isinstance(answer, list):
        return [keys(answer[0])] if answer and isinstance(answer[0], dict) else "list"
    return None


if __name__ == "__main__":
    unittest.main()
