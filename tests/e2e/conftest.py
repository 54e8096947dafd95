"""A real browser in front of the real gateway."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from e2e.pages import fill_form
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 30_000
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


@pytest.fixture(scope="session")
def passwords(stack_env) -> dict[str, str]:
    """Login -> password of the demo accounts."""
    return json.loads(stack_env["DEMO_USERS"])


@pytest.fixture(scope="session")
def trust(stack_env) -> ssl.SSLContext:
    """Trusts the stack's own authority and nobody else."""
    return ssl.create_default_context(cafile=stack_env["CA_FILE"])


@pytest.fixture(scope="session")
def http(trust) -> Iterator[httpx.Client]:
    """Speaks to the gateway as a program does; follows no redirect."""
    with httpx.Client(verify=trust, timeout=30) as client:
        yield client


# Not for the session: Playwright keeps an event loop running in this thread until it ends, in which
# nobody else can run one.
@pytest.fixture(scope="module")
def browser(stack_env) -> Iterator[Browser]:
    domain = stack_env["CLINIC_DOMAIN"]
    rules = f"--host-resolver-rules=MAP {domain} 127.0.0.1, MAP *.{domain} 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
        yield browser
        browser.close()


@pytest.fixture
def new_context(browser) -> Iterator[Callable[..., BrowserContext]]:
    """Browser windows that know nothing of one another. Trust has a test of its own."""
    contexts: list[BrowserContext] = []

    def make(**options) -> BrowserContext:
        context = browser.new_context(ignore_https_errors=True, locale="es-ES", **options)
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def open_airflow(stack_env, passwords) -> Callable[[BrowserContext, str], Page]:
    """Log in with the form, as a person does, and wait for Airflow's own page."""

    def log_in(context: BrowserContext, login: str) -> Page:
        page = context.new_page()
        page.goto(stack_env["AIRFLOW_PUBLIC_URL"])
        fill_form(page, login, passwords[login])
        page.wait_for_url(f"{stack_env['AIRFLOW_PUBLIC_URL']}/**")
        page.get_by_test_id("nav-home-link").wait_for()
        return page

    return log_in


@pytest.fixture(scope="module")
def session_of(browser, open_airflow) -> Iterator[Callable[[str], BrowserContext]]:
    """One session an account, kept for all tests of a module that only ask what it may do."""
    contexts: dict[str, BrowserContext] = {}

    def session(login: str) -> BrowserContext:
        if login not in contexts:
            contexts[login] = browser.new_context(ignore_https_errors=True, locale="es-ES")
            contexts[login].set_default_timeout(TIMEOUT_MS)
            # Airflow's pages ask again and again: none stays open
            open_airflow(contexts[login], login).close()
        return contexts[login]

    yield session
    for context in contexts.values():
        context.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
