"""Tests in a real browser: some take minutes and they need Chromium, so they run on demand, `pytest -m browser`."""


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: needs Chromium and Playwright; run with `-m browser`")


def pytest_ignore_collect(config):
    return True if "browser" not in config.option.markexpr else None
