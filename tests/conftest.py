"""Options of the whole suite. In CI nothing may be skipped: what cannot run there is a failure."""

import os

pytest_plugins = ["lab.plugin"]


def pytest_addoption(parser):
    parser.addoption(
        "--kills", type=int, default=1, help="random kills for each variant and victim"
    )


def pytest_generate_tests(metafunc):
    if "kill_round" in metafunc.fixturenames:
        metafunc.parametrize("kill_round", range(metafunc.config.getoption("--kills")))


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    if os.environ.get("CI") and skipped:
        terminalreporter.write_line(f"CI: {len(skipped)} skipped tests count as failed", red=True)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and os.environ.get("CI") and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = 1
