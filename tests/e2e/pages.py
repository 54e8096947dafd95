"""Steps in pages that several tests take."""

from playwright.sync_api import Page


def fill_form(page: Page, login: str, password: str) -> None:
    """Fill in Keycloak's form and send it."""
    page.locator("#username").fill(login)
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Iniciar sesión").click()
