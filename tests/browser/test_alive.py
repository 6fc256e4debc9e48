"""What the page says of a router that does not answer, is another one, or wants a token. The stage stands in for it."""

import time
import unittest

from chrome import Chrome, Page
from stage import Stage, process

PHASE = "document.getElementById('phase').textContent"
BANNER = "document.getElementById('banner')"
ROWS = "document.getElementById('rows')?.childElementCount"
LOGIN = "document.getElementById('login')"
FULL, READ = "full-token-of-the-stage", "read-token-of-the-stage"


class Alive(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chrome = Chrome()
        cls.addClassCleanup(cls.chrome.close)

    def open(self, ready: str = f"{ROWS} === 4", **more) -> tuple[Page, Stage]:
        stage = Stage(**more)
        self.addCleanup(stage.close)
        page = Page(self.chrome)
        self.addCleanup(page.close)
        page.go(stage.url)
        page.eventually("the page to be there", ready)
        return page, stage

    def assert_dead(self, page: Page, why: str) -> None:
        page.eventually("the banner", f"{BANNER}.checkVisibility() && {BANNER}.innerText.includes({why!r})")
        self.assertEqual(page.run(PHASE), "no answer")
        self.assertTrue(page.run("document.title").startswith("⚠ no answer"))
        self.assertIn("c62828", page.run("document.getElementById('icon').href"))
        self.assertNotIn("ready", page.run("document.body.innerText.split('Streams')[0]"))
        page.eventually("the age to grow", f"/of \\d\\d:\\d\\d:\\d\\d, [3-9] s ago/.test({BANNER}.innerText)")
        # It is said once aloud, not each second.
        self.assertNotIn("ago", page.run("document.getElementById('banner-head').textContent"))

    def assert_well(self, page: Page) -> None:
        page.eventually("the router again", f"{PHASE} === 'ready' && !{BANNER}.checkVisibility()")
        self.assertFalse(page.run("document.title").startswith("⚠"))
        self.assertFalse(page.run("document.body.classList.contains('gone')"))

    def test_a_router_that_says_nothing(self):
        page, stage = self.open()
        stage.silent = True
        self.assert_dead(page, "said nothing for 5 s")
        stage.silent = False
        self.assert_well(page)

    def test_a_proxy_that_answers_for_a_router_that_is_gone(self):
        page, stage = self.open()
        stage.status = 502
        self.assert_dead(page, "something in front of it answers 502 Bad Gateway")
        stage.status = 200
        self.assert_well(page)
        # Nor is a page of a login the router.
        stage.status = 203
        self.assert_dead(page, "what answers here is not the router")

    def test_a_router_that_was_never_there(self):
        page, _ = self.open(f"{BANNER}.checkVisibility()", status=503)
        self.assertEqual(page.run(PHASE), "no answer")
        self.assertEqual(page.run("document.getElementById('banner-age').textContent"), "")

    def test_the_end_of_a_drain_is_told_as_that(self):
        page, stage = self.open()
        stage.phase = "draining"
        page.eventually("the phase", f"{PHASE} === 'draining'")
        stage.status = 502
        page.eventually("the banner", f"{BANNER}.innerText.includes('It was draining')")

    def test_another_process_is_told(self):
        page, stage = self.open()
        old, note = stage.process, "document.getElementById('process')"
        self.assertFalse(page.run(f"{note}.checkVisibility()"))
        stage.process = process("lab-host-4")
        page.eventually("the note", f"{note}.checkVisibility()")
        said = page.run(f"{note}.innerText")
        self.assertRegex(said, rf"Another process answers since \d\d:\d\d:\d\d: {stage.process['id']} \(pid \d+ on lab-host-4")
        self.assertIn(old["id"], said)
        page.click("document.getElementById('process-seen')")
        self.assertFalse(page.run(f"{note}.checkVisibility()"))
        # Two that share one address.
        stage.process = old
        page.eventually("the note", f"{note}.innerText.startsWith('Several processes answer here in turns')")

    def test_figures_of_two_processes_are_not_mixed(self):
        page, stage = self.open()
        own, stage.other = stage.process["id"], process("lab-host-4")
        other = stage.other["id"]
        note = "document.getElementById('process')"
        page.eventually("the note", f"{note}.innerText.startsWith('Several processes answer here in turns')")
        page.eventually("both", f"{note}.innerText.includes({own!r}) && {note}.innerText.includes({other!r})")

    def test_a_page_that_nobody_sees_takes_its_own_rarity_for_no_death(self):
        page, stage = self.open()
        page.run("Object.defineProperty(document, 'hidden', { value: true, configurable: true }); 0")
        before = len(stage.asked)
        time.sleep(6)
        self.assertLess(len(stage.asked) - before, 4)
        self.assertEqual(page.run(PHASE), "ready")
        # It looks all the same, and says in the tab's title what it finds.
        stage.status = 502
        page.eventually("the title", "document.title.startsWith('⚠ no answer')")
        stage.status = 200
        page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        self.assert_well(page)

    def test_paused_figures_say_how_old_they_are(self):
        page, stage = self.open()
        page.click("document.getElementById('pause')")
        page.eventually("the word", f"{BANNER}.innerText.startsWith('Paused.')")
        stage.pairs = 9
        page.eventually("an age", f"/[2-9] s ago/.test({BANNER}.innerText)")
        self.assertEqual(page.run(ROWS), 4)
        # A pause hides no death.
        stage.status = 502
        page.eventually("the death", f"{PHASE} === 'no answer'")
        stage.status = 200
        page.click("document.getElementById('pause')")
        page.eventually("the new ones", f"{ROWS} === 10")
        self.assert_well(page)

    def test_a_wrong_token_is_said_where_it_is_typed(self):
        page, stage = self.open(f"{LOGIN}.open", token=FULL, read_token=READ)
        field = "document.getElementById('token')"
        self.assertEqual(page.run(f"[{field}.type, {field}.autocomplete, document.activeElement.id]"), ["password", "current-password", "token"])
        says = "document.getElementById('login-says').textContent"
        for given in ("not-the-token", "umlaut-\u00fc"):
            page.type(given)
            page.key("Enter", 13)
            page.eventually("the word", f"{says} === 'Wrong token. This router has another one.' && {LOGIN}.open")
            self.assertEqual(page.run(f"{field}.getAttribute('aria-invalid')"), "true")
            # It is selected, so that the next one takes its place.
            self.assertEqual(page.run(f"{field}.selectionEnd - {field}.selectionStart"), len(given))
        # Escape leads to a page that says what it lacks.
        page.key("Escape", 27)
        page.eventually("the way back", f"!{LOGIN}.open && document.getElementById('banner-token').checkVisibility()")
        self.assertEqual(page.run(PHASE), "token wanted")
        page.click("document.getElementById('banner-token')")
        page.eventually("the question", f"{LOGIN}.open")
        page.run(f"{field}.value = ''")
        page.type(FULL)
        page.key("Enter", 13)
        page.eventually("the rows", f"{ROWS} === 4 && !{LOGIN}.open")
        # It outlives a reload of the page, and not the tab.
        page.call("Page.reload")
        page.eventually("the rows", f"{ROWS} === 4")
        self.assertFalse(page.run(f"{LOGIN}.open"))
        self.assertEqual(page.run("localStorage.length"), 0)
        self.assertNotIn(FULL, page.run("document.documentElement.outerHTML"))
        # A new one.
        stage.token = "another-token"
        page.eventually("the question", f"{LOGIN}.open")
        self.assertIn("does not take the token any more", page.run(says))

    def test_a_token_that_reads_shows_nothing_that_it_may_not_do(self):
        page, _ = self.open(f"{LOGIN}.open", token=FULL, read_token=READ)
        page.type(READ)
        page.key("Enter", 13)
        page.eventually("the rows", f"{ROWS} === 4")
        self.assertEqual(page.run("[...document.querySelectorAll('.act')].filter(e => e.checkVisibility()).length"), 0)
        self.assertEqual(page.run("document.getElementById('access').innerText"), "read only")
        self.assertIn("cannot be ended", page.run("document.getElementById('access').title"))
        page.run("location.hash = '#stream/1'")
        page.eventually("the stream", "document.getElementById('detail-state').textContent === 'paired'")
        self.assertFalse(page.run("document.getElementById('detail-end').checkVisibility()"))
        page.run("location.hash = '#settings'")
        page.eventually("the word", "document.getElementById('facts').innerText.includes('only read')")
        page.click("document.getElementById('forget')")
        page.eventually("the question", f"{LOGIN}.open")


if __name__ == "__main__":
    unittest.main()
