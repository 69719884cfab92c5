"""The report that the command writes, in a browser: wide and narrow, light and dark."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from dataflow_assets_tests.e2e.server import ROOT
from dataflow_assets_tests.scenario import ARRIVALS, GAP_DAY, HARBOUR, changed, drop_awkward

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver.remote.webdriver import WebDriver

    from dataflow_assets_tests.scenario import World

CHECKS = {
    "volume_anomaly": True,
    "freshness": {"of": "arrived_at", "within": "26h"},
    "anomalies": {"columns": {"draught": ["nulls", "distinct", "distribution"]}},
}
HOSTILE = "Ships <script>document.title = 'taken over'</script>"
OVERFLOW = "return document.documentElement.scrollWidth - window.innerWidth"
PAPER = "return getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def page(filled: World, tmp_path: Path) -> str:
    """The address of a report on the harbour, with awkward rows and a failed run."""
    filled.declare(changed(HARBOUR, checks=CHECKS, description=HOSTILE), ARRIVALS)
    drop_awkward(filled)
    assert filled.materialize(GAP_DAY).success
    filled.drop("2024-04-02.csv", "Nothing;of;this\n1;2;3\n")
    assert not filled.materialize("2024-04-02").success
    output = tmp_path / "state.html"
    done = subprocess.run(
        [sys.executable, "-m", "dataflow_assets", "report", "--output", str(output)],
        cwd=ROOT,
        env=filled.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    return output.as_uri()


def test_the_report(page: str, browser: WebDriver, tmp_path: Path) -> None:
    browser.get(page)

    text = browser.find_element(By.TAG_NAME, "body").text
    for shown in (
        "State of the sources",
        HOSTILE,  # as text, and not as a script
        "the newest arrived_at is 2024-04-01 08:01:00 UTC",
        "harbour\nfailing",
        "ship__nul_byte",
        "not declared: Remark",  # drift
        "[DA203] source 'harbour', partition '2024-04-02'",
        "draught: share of rows without a value",
        "Entities",
    ):
        assert shown in text
    assert browser.title.startswith("State of 1 sources")
    assert len(browser.find_elements(By.CSS_SELECTOR, "rect.f-loaded")) == 2
    colours = set()
    for width, scheme in ((1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")):
        _look(browser, width, scheme)
        browser.save_screenshot(str(tmp_path / f"{scheme}-{width}.png"))
        assert browser.execute_script(OVERFLOW) <= 0, "nothing is wider than the page"
        colours.add(browser.execute_script(PAPER))
    assert colours == {"rgb(255, 255, 255)", "rgb(20, 24, 29)"}
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _look(browser: WebDriver, width: int, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
