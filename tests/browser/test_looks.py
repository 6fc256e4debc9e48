"""How the page looks: widths, colours, and how much of it there may be. The stage stands in for the router."""

import os
import time
import unittest
from pathlib import Path

from chrome import Chrome, Page
from stage import Stage, certificate

# Where pictures of all sizes go, if somebody wants to look at them, and the picture for the documents, if it is to be
# made anew.
PICTURES, SCREENSHOT = os.environ.get("PICTURES"), os.environ.get("SCREENSHOT")

WIDTHS = {390: 844, 1280: 900, 1920: 1000}
VIEWS = ("streams", "past", "settings", "stream/1", "refused/0")

# Text that has too little contrast to what is behind it (WCAG 2.2, 1.4.3, AA), as a list of [text, ratio].
PALE = """(() => {
  const parse = text => { const m = text.match(/[\\d.]+/g).map(Number); return [...m.slice(0, 3), m[3] ?? 1] };
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b) };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = e => { const all = []; for (let at = e; at; at = at.parentElement) all.push(parse(getComputedStyle(at).backgroundColor));
    return all.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]) };
  const pale = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), e = walker.currentNode.parentElement;
    if (!text || !e.checkVisibility({ visibilityProperty: true }) || e.closest('script, caption, select')) continue;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const back = behind(e), ink = over(parse(e.closest('svg') ? style.fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5)) pale.push([text, ratio.toFixed(2)]);
  }
  return pale })()"""

# What is wider than the window, as a list of names.
WIDE = """[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('svg, caption, td a') &&
  e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '.' + e.className + '#' + e.id)"""


class Looks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.chrome = Chrome()
        cls.addClassCleanup(cls.chrome.close)

    def stage(self, **more) -> Stage:
        stage = Stage(**more)
        self.addCleanup(stage.close)
        return stage

    def open(self, url: str, width: int = 1280, scheme: str = "light") -> Page:
        page = Page(self.chrome, width=width, height=WIDTHS[width])
        self.addCleanup(page.close)
        page.scheme(scheme)
        page.go(url)
        page.eventually("the router's answer", "document.getElementById('phase').textContent !== 'connecting'")
        return page

    def test_nothing_is_too_wide_nor_too_pale(self):
        """At three widths, light and dark, with none, few and many streams, alive and dead."""
        for pairs in (0, 3, 300):
            stage = self.stage(pairs=pairs, waiting=pairs // 3, past=min(pairs * 20, 60), cluster=pairs == 3 and "connected")
            if pairs == 300:
                stage.certificates = [certificate("CN=soon.example.com", 2.5), certificate("CN=later.example.com", 10.2, None)]
                stage.pressure = "elevated"
            began = stage.ended({})["streams"][4]["began_unix_ms"] if pairs else 0
            for width in WIDTHS:
                for scheme in ("light", "dark"):
                    for view in VIEWS:
                        with self.subTest(pairs=pairs, width=width, scheme=scheme, view=view):
                            page = self.open(f"{stage.url}#{view.replace('refused/0', f'refused/{began}')}", width, scheme)
                            page.eventually("an answer", "['rows', 'past-rows', 'settings-rows', 'detail-state', 'none', 'past-none'].some(id => "
                                            "document.getElementById(id).checkVisibility() && document.getElementById(id).textContent)")  # fmt: skip
                            self.assert_looks(page)
                            if PICTURES:
                                page.shoot(Path(PICTURES) / f"{view.split('/')[0]}-{pairs}-{width}-{scheme}.png")

    def assert_looks(self, page: Page) -> None:
        self.assertEqual(page.run("document.documentElement.scrollWidth"), page.run("innerWidth"))
        self.assertEqual(page.run(WIDE), [])
        self.assertEqual(page.run(PALE), [])

    def test_a_dead_router_s_figures_are_grey_and_still_legible(self):
        stage = self.stage()
        for scheme in ("light", "dark"):
            stage.status = 200
            page = self.open(stage.url, 390, scheme)
            page.eventually("the rows", "document.getElementById('rows').childElementCount === 4")
            stage.status = 502
            page.eventually("the banner", "document.getElementById('banner').checkVisibility()")
            self.assert_looks(page)
            self.assertEqual(page.run("getComputedStyle(document.querySelector('main')).filter"), "grayscale(1)")

    def test_on_a_telephone_what_matters_comes_before_what_ends(self):
        page = self.open(self.stage().url, 390)
        page.eventually("the rows", "document.getElementById('rows').childElementCount === 4")
        shown = page.run("[...document.querySelectorAll('#heads th')].filter(e => e.checkVisibility()).map(e => e.textContent)")
        self.assertEqual(shown, ["Stream", "State", "Rate", "Stalled", "Action"])
        # And they are where they are read in this order: the name above, the others from left to right.
        places = page.run("[...document.querySelectorAll('#rows tr:first-child td')].filter(e => e.checkVisibility())"
                          ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right])")  # fmt: skip
        self.assertLess(places[0][1], places[1][1])
        for before, after in zip(places[1:], places[2:]):
            self.assertEqual(before[1], after[1])
            self.assertLessEqual(before[2], after[0])

    def test_a_wide_screen_has_all_columns(self):
        page = self.open(self.stage().url, 1920)
        page.eventually("the rows", "document.getElementById('rows').childElementCount === 4")
        shown = page.run("[...document.querySelectorAll('#heads th')].filter(e => e.checkVisibility()).map(e => e.textContent)")
        self.assertEqual(len(shown), 13)
        self.assertIn("Certificate", shown)
        self.assertGreater(page.run("document.getElementById('streams').clientWidth"), 1800)

    def test_a_chart_tells_the_values_of_a_moment(self):
        page = self.open(self.stage(pairs=300).url)
        card, plot = "document.querySelector('.charts .card')", "document.querySelector('.hold')"
        page.eventually("a curve", f"{card}.querySelector('path.line').getAttribute('d')?.length > 3000")
        now = page.run(f"{card}.querySelector('.legend').innerText")
        self.assertRegex(now, r"in [\d.]+ [MG]B/s\s+out [\d.]+ [MG]B/s")
        self.assertEqual(page.run(f"{card}.querySelector('.when').textContent"), "")
        # With a mouse; the others show the same moment.
        page.hover(plot, 0.5)
        page.eventually("the time", f"/^\\d\\d:\\d\\d:\\d\\d$/.test({card}.querySelector('.when').textContent)")
        self.assertEqual(len(set(page.run("[...document.querySelectorAll('#charts .when')].map(e => e.textContent)"))), 1)
        self.assertTrue(page.run(f"{card}.querySelector('.mark').checkVisibility()"))
        middle = page.run(f"{plot}.ariaValueNow")
        end = page.run(f"{plot}.ariaValueMax")
        self.assertAlmostEqual(int(end) - int(middle), 300, delta=6)
        page.hover("document.querySelector('h1')")
        page.eventually("now again", f"{card}.querySelector('.when').textContent === ''")
        # With keys.
        page.run(f"{plot}.focus()")
        page.key("Home", 36)
        first = page.run(f"{plot}.ariaValueText")
        page.key("ArrowRight", 39, shift=True)
        self.assertNotEqual(page.run(f"{plot}.ariaValueText"), first)
        self.assertRegex(first, r"^\d\d:\d\d:\d\d: in [\d.]+ [kMG]?B/s, out ")
        self.assertEqual(page.run(f"[{plot}.role, {plot}.ariaLabel]")[0], "slider")
        page.key("Escape", 27)
        self.assertEqual(page.run(f"{card}.querySelector('.when').textContent"), "")
        # With a finger.
        x, y = page.run(f"(r => [r.x + 40, r.y + 40])({plot}.getBoundingClientRect())")
        page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        page.eventually("the time", f"{card}.querySelector('.when').textContent !== ''")
        # Axes: times below, values with units beside, and the limit of memory.
        marks = page.run("[...document.querySelectorAll('#charts .card')].map(c => [...c.querySelectorAll('text')].map(t => t.textContent))")
        self.assertTrue(any(mark.endswith("B/s") for mark in marks[0]), marks)
        self.assertTrue(all(any(mark[2:3] == ":" for mark in of) for of in marks), marks)
        self.assertIn("limit 537 MB", marks[3])
        self.assertEqual(page.complaints(), [])

    def test_five_hundred_rows_cost_little_script(self):
        """The median, as other programs take the processor meanwhile; the bound is far above what is usual."""
        page = self.open(self.stage(pairs=300, waiting=200).url)
        page.eventually("the rows", "document.getElementById('rows').childElementCount === 500")
        page.run("""{ globalThis.took = []; const show = live.show;
            live.show = function (...all) { const begin = performance.now(); show.apply(this, all); took.push(performance.now() - begin) } }""")
        time.sleep(8)
        took = sorted(page.run("took"))
        print(f"\n500 rows: {took[len(took) // 2]:.1f} ms of script a refresh, {took[0]:.1f} to {took[-1]:.1f}")
        self.assertGreater(len(took), 4)
        self.assertLess(took[len(took) // 2], 30)

    def test_all_can_be_reached_with_keys_and_shows_that_it_is(self):
        page = self.open(self.stage().url)
        page.eventually("the rows", "document.getElementById('rows').childElementCount === 4")
        reached = []
        for _ in range(30):
            page.key("Tab", 9)
            outline = page.run("(style => style.outlineStyle + ' ' + parseFloat(style.outlineWidth))(getComputedStyle(document.activeElement))")
            self.assertEqual(outline, "solid 2", page.run("document.activeElement.outerHTML"))
            reached.append(page.run("(e => e.id || e.getAttribute('role') || e.parentElement.dataset.sort || e.dataset.end || e.hash)(document.activeElement)"))
            if reached[-1] == "1":
                break
        self.assertEqual(reached[:5], ["pause", "drain", "to-live", "to-past", "to-settings"])
        self.assertEqual(reached.count("slider"), 4)
        self.assertEqual(reached[9:17], ["filter", "subject", "state", "rate", "stalled", "held", "bytes", "age"])
        self.assertEqual(reached[17:], ["#stream/4", "4", "#stream/3", "3", "#stream/2", "2", "#stream/1", "1"])
        # Up and down go from row to row.
        page.key("ArrowUp", 38)
        self.assertEqual(page.run("document.activeElement.dataset.end"), "2")
        page.run("document.querySelector('#rows a').focus()")
        page.key("ArrowDown", 40)
        self.assertEqual(page.run("document.activeElement.hash"), "#stream/3")

    @unittest.skipUnless(SCREENSHOT, "no picture is wanted")
    def test_the_picture_of_the_documents(self):
        page = Page(self.chrome, width=1280, height=720)
        page.go(self.stage(pairs=6).url)
        page.eventually("the rows", "document.getElementById('rows').childElementCount === 7")
        page.shoot(Path(SCREENSHOT))

    def test_motion_only_for_those_who_want_it(self):
        stage = self.stage(status=502)
        page = self.open(stage.url)
        name = "getComputedStyle(document.getElementById('banner')).animationName"
        self.assertEqual(page.run(name), "call")
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        self.assertEqual(page.run(name), "none")


if __name__ == "__main__":
    unittest.main()
