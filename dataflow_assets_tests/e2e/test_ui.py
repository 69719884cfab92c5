"""What a person sees in a browser, and what happens when a file is dropped while they look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets_tests.e2e.server import LAST, Installation, installation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from selenium.webdriver.remote.webdriver import WebDriver

PATIENCE_S = 45
DROPPED = "2026-01-12"
SOURCES = ("alpine_network", "coastal_network", "island_network", "ocean_network")
GROUP = "/locations/dataflow_assets/asset-groups/coastal_network/lineage"
CLEANED = "/assets/cleaned/coastal_network"
ENTITY = "/assets/normalized/seismic_events"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("installation")) as made:
        yield made


class Page:
    """A page of the UI that is looked at.

    Args:
        browser: Shows it.
        url: Its address.
        shots: Folder for pictures of it, for a person who wonders why a test failed.
    """

    def __init__(self, browser: WebDriver, url: str, shots: Path) -> None:
        self._browser = browser
        self._shots = shots
        browser.get(url)

    @property
    def text(self) -> str:
        """All that can be read now."""
        return self._browser.find_element(By.TAG_NAME, "body").text

    def shows(self, *texts: str) -> None:
        """Wait until all of these can be read at the same time."""
        until = time.monotonic() + PATIENCE_S
        while (missing := self._missing(texts)) and time.monotonic() < until:
            time.sleep(0.2)
        number = len(list(self._shots.iterdir()))
        self._browser.save_screenshot(str(self._shots / f"{number}.png"))
        assert not missing, self.text

    def _missing(self, texts: Sequence[str]) -> list[str]:
        try:
            shown = self.text
        except StaleElementReferenceException:  # the page is being drawn anew
            return list(texts)
        return [text for text in texts if text not in shown]

    def click(self, text: str) -> None:
        """Click what has a text, once it is there."""
        place = (By.XPATH, f"//*[normalize-space(text())='{text}']")
        WebDriverWait(self._browser, PATIENCE_S).until(
            lambda browser: browser.find_element(*place).is_displayed()
        )
        self._browser.find_element(*place).click()


class Site:
    """The UI, page by page."""

    def __init__(self, browser: WebDriver, installed: Installation, shots: Path) -> None:
        self._browser = browser
        self._installed = installed
        self._shots = shots

    def open(self, path: str) -> Page:
        """Open a page."""
        return Page(self._browser, f"{self._installed.url}{path}", self._shots)


@pytest.fixture
def site(browser: WebDriver, installed: Installation, tmp_path: Path) -> Site:
    return Site(browser, installed, tmp_path)


def test_the_graph_shows_every_source_and_entity(site: Site) -> None:
    site.open("/asset-groups").shows(*SOURCES, "seismic_events")


def test_a_sources_graph_leads_from_files_to_the_entity(site: Site) -> None:
    site.open(GROUP).shows("raw", "cleaned", "quarantine", "Parquet", "Passed", "seismic_events")


def test_an_asset_says_what_it_is(site: Site) -> None:
    site.open(CLEANED).shows(
        "Earthquakes located by the coastal network",
        "Typed rows that honour the contract",
        "seismology",
        "2 sensors",
        "coastal_network_job",
        "coastal_network_replay",
        "event_id",
        "Id within the network",
        "non-nullable",
        "max: 90",
    )


def test_a_materialization_shows_counts_and_a_preview(site: Site) -> None:
    page = site.open(f"{CLEANED}?view=partitions&partition=2026-01-05")

    page.shows(
        "dagster/partition_row_count\n384",
        "received\n403",
        "loaded\n384",
        "quarantined\n3",
        "filtered\n16",
        "lake/cleaned/coastal_network/2026-01-05.parquet",
    )
    page.click("[Show Markdown]")
    page.shows("magnitude_type", "co00000001", "Grey Harbour")


def test_checks_say_what_was_found(site: Site) -> None:
    page = site.open(f"{CLEANED}?view=checks&checkDetail=latitude__range")

    page.shows("conservation\nSucceeded", "latitude__range\nFailed", "6 of 7 partitions pass")
    page.click("Execution history")
    page.shows("1 rows break it")
    assert "Skipped" not in page.text


def test_the_lineage_leads_to_all_sources(site: Site) -> None:
    page = site.open(f"{ENTITY}?view=lineage&lineageScope=upstream&lineageDepth=3")

    page.shows(*SOURCES, "seismic_events")
    site.open(ENTITY).shows("Every located earthquake once", "DuckDB")


def test_the_sensors_are_on(site: Site) -> None:
    site.open("/automation").shows(
        "alpine_network_files", "coastal_network_files", "coastal_network_schedule"
    )


def test_a_dropped_file_becomes_rows_by_itself(installed: Installation) -> None:
    warehouse = DuckDBWarehouse(installed.data / "warehouse.duckdb", 30, 256)
    inbox = installed.data / "inbox" / "coastal"
    text = (inbox / f"{LAST}.csv").read_text(encoding="utf-8").replace(LAST, DROPPED)
    (inbox / f"{DROPPED}.csv").write_text(text, encoding="utf-8")

    rows, until = 0, time.monotonic() + PATIENCE_S * 2
    while not rows and time.monotonic() < until:
        time.sleep(0.5)
        rows = warehouse.read(
            "select count(*) from normalized.seismic_events where _partition = ?", [DROPPED]
        ).item()

    assert rows == 384


def test_the_run_of_the_dropped_file_is_shown(site: Site) -> None:
    site.open("/runs").shows(f"partition: {DROPPED}", "coastal_network_files", "Success")
