"""The page in a browser: it loads from a file, draws, sorts and saves, and asks nobody for anything."""

from __future__ import annotations

import shutil
import time

import pytest

from rbc_marl.report import write, write_report
from tests.report.folders import HOSTILE, make_run, make_sweep, row

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs Debian's chromium and its driver"
    ),
]


def wait(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the page does not get there"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    folder = tmp_path_factory.mktemp("browser")
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{word}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "saved")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.saved = folder / "saved"
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A run's report and a sweep's, without the pictures that stand beside their pages."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "save", lambda charts, path: path.write_bytes(b""))
        rows = [row("a", 1), row(HOSTILE, 12), row("a", 3, "failed", error=HOSTILE), row("b", 2)]
        yield {
            "run": write_report([make_run(folder / "run")]),
            "sweep": write_report([make_sweep(folder / "sweep", rows)]),
        }


def shown(browser, report):
    browser.get(report.page.as_uri())
    wait(lambda: browser.execute_script("return document.documentElement.dataset.drawn"))
    return browser


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_every_figure_is_drawn_without_an_error_or_a_request(browser, reports, name):
    shown(browser, reports[name])
    plots = browser.find_elements("css selector", ".plot")
    assert len(plots) == sum(file.startswith("figures/") for file in reports[name].files) > 0
    assert all(plot.find_elements("css selector", "svg.main-svg") for plot in plots)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    asked = [entry["message"] for entry in browser.get_log("performance") if "requestWillBeSent" in entry["message"]]
    assert not [message for message in asked if '"url":"http' in message]
    assert not browser.find_elements("xpath", "//*[contains(@onclick, 'alert')]")


def test_a_column_sorts_up_and_down_by_its_button_and_by_the_keyboard(browser, reports):
    shown(browser, reports["sweep"])
    table = browser.find_elements("css selector", "table")[-1]
    heads = table.find_elements("css selector", "th")
    place = [head.text.strip().partition(" ")[0] for head in heads].index("seed")

    def seeds():
        cells = table.find_elements("css selector", f"tbody td:nth-child({place + 1})")
        return [cell.text for cell in cells]

    button = heads[place].find_element("css selector", "button")
    assert seeds() == ["1", "12", "3", "2"] and heads[place].get_attribute("aria-sort") == "none"
    browser.execute_script("arguments[0].click()", button)
    assert seeds() == ["1", "2", "3", "12"] and heads[place].get_attribute("aria-sort") == "ascending"
    button.send_keys("\n")  # Enter, where the focus is
    assert seeds() == ["12", "3", "2", "1"] and heads[place].get_attribute("aria-sort") == "descending"


def test_what_is_missing_stands_last_whichever_way_a_column_sorts(browser, reports):
    shown(browser, reports["sweep"])
    table = browser.find_elements("css selector", "table")[-1]
    heads = [head.text.strip() for head in table.find_elements("css selector", "th")]
    place = heads.index("error")
    for _ in range(2):
        browser.execute_script("arguments[0].tHead.rows[0].cells[arguments[1]].firstChild.click()", table, place)
        cells = [cell.text for cell in table.find_elements("css selector", f"tbody td:nth-child({place + 1})")]
        assert cells == [HOSTILE, "", "", ""]


@pytest.mark.parametrize("name", ["numbers.csv", "numbers.tex", "numbers.json"])
def test_a_button_saves_the_numbers(browser, reports, name):
    shown(browser, reports["sweep"])
    target = browser.saved / name
    browser.find_element("css selector", f'a[download="{name}"]').click()
    wait(lambda: target.is_file() and not list(browser.saved.glob("*.crdownload")))
    assert target.read_bytes() == (reports["sweep"].folder / name).read_bytes()


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_its_window_in_the_theme_of_its_reader(browser, reports, theme, width):
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    shown(browser, reports["run"])
    page = "document.documentElement"
    assert browser.execute_script(f"return {page}.scrollWidth <= {page}.clientWidth")
    inside = "p.querySelector('svg').getBoundingClientRect().height <= p.getBoundingClientRect().height + 1"
    assert browser.execute_script(f"return [...document.querySelectorAll('.plot')].every(p => {inside})")
    ink = browser.execute_script("return document.querySelector('.plot .xtick text').style.fill")
    assert ink == ("rgb(34, 34, 34)" if theme == "light" else "rgb(232, 232, 232)")
