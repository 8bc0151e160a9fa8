"""The page in a real browser: nothing loaded, nothing complained about, the verdict at first sight."""

import shutil

import pytest

from kintsugi.core.run import Run

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (group 'browser')")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(example, tmp_path_factory):
    return example.save(Run(tmp_path_factory.mktemp("run"))).as_uri()


def opened(browser, address, **options):
    page = browser.new_page(**options)
    page.seen = []
    page.on("console", lambda message: page.seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: page.seen.append(f"error: {error}"))
    page.on("request", lambda asked: page.seen.append(asked.url) if not asked.url.startswith("data:") else None)
    page.goto(address)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_verdict_at_first_sight_and_nothing_else_asked_for(browser, address, scheme, size):
    page = opened(browser, address, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    box = page.locator("h1").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] < size[1]
    lead = page.locator(".lead").bounding_box()
    assert lead["y"] + lead["height"] < size[1]
    # decode() fails where a picture cannot be shown; lazy ones are asked for first.
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    assert page.evaluate("Promise.all([...document.images].map(image => image.decode())).then(all => all.length)") > 20
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "no sideways scrolling"
    assert page.seen == [address]
    page.close()


def luminance(colour):
    channels = [int(v) / 255 for v in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser, address, scheme):
    page = opened(browser, address, color_scheme=scheme)
    paper = luminance(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    for what in (".lead", ".hint", ".lead .interval", "h1 .word", "nav a", ".small", ".change.up b", "footer p"):
        colour = page.evaluate("what => getComputedStyle(document.querySelector(what)).color", what)
        light, dark = sorted((luminance(colour), paper), reverse=True)
        needed = 3.0 if what == "h1 .word" else 4.5  # WCAG AA, large text and text
        assert (light + 0.05) / (dark + 0.05) >= needed, (what, colour)
    page.close()


def test_keyboard_reaches_every_section(browser, address):
    page = opened(browser, address, viewport={"width": 1280, "height": 800})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('href')"))
    sections = page.evaluate("[...document.querySelectorAll('section')].map(section => '#' + section.id)")
    assert set(sections) <= set(reached)
    page.close()


def test_pages_without_pictures_or_verdict_open_cleanly(browser, tmp_path):
    from kintsugi.report.content import Report

    address = Report("Nothing <b>here</b>").save(Run(tmp_path)).as_uri()
    page = opened(browser, address)
    assert page.title() == "Nothing <b>here</b>"
    assert page.seen == [address]
    page.close()
