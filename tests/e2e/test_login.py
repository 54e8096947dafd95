"""Logging in and out of Airflow through the gateway, as a person does it."""

import json
import secrets
import time
from pathlib import Path

import httpx
import pytest
from e2e.pages import fill_form
from support.keycloak import admin_api

pytestmark = pytest.mark.stack

BENCH = Path(__file__).parents[2] / "build" / "bench" / "login.json"
LARGEST_COOKIE = 4096  # bytes of name and value; browsers drop a larger one without a word
LOGINS = [
    "demo-farmacia",
    "demo-medicina",
    "demo-administracion",
    "demo-sistemas",
    "demo-sin-grupo",
]


@pytest.fixture(scope="module")
def measured():
    """Seconds and bytes of each login, kept in build/bench/login.json."""
    logins = {}
    yield logins
    BENCH.parent.mkdir(parents=True, exist_ok=True)
    BENCH.write_text(json.dumps(logins, indent=1))


def airflow_cookies(context, stack_env):
    return {c["name"]: c for c in context.cookies(stack_env["AIRFLOW_PUBLIC_URL"])}


def test_the_form_speaks_spanish_and_its_language_can_be_changed(new_context, stack_env):
    page = new_context().new_page()
    page.goto(stack_env["AIRFLOW_PUBLIC_URL"])
    page.locator("#username").wait_for()
    assert page.url.startswith(f"{stack_env['KEYCLOAK_PUBLIC_URL']}/realms/clinica-realm/")
    assert page.locator("html").get_attribute("lang") == "es"
    assert page.get_by_label("Usuario").is_visible()
    page.get_by_role("combobox").select_option(label="Inglés (English)")
    page.get_by_role("button", name="Sign In").wait_for()


def test_a_browser_in_any_other_language_gets_spanish(browser, stack_env):
    context = browser.new_context(ignore_https_errors=True, locale="fr-FR")
    page = context.new_page()
    page.goto(stack_env["AIRFLOW_PUBLIC_URL"])
    page.get_by_role("button", name="Iniciar sesión").wait_for()
    context.close()


def test_a_wrong_password_is_refused_in_words(new_context, stack_env):
    page = new_context().new_page()
    page.goto(stack_env["AIRFLOW_PUBLIC_URL"])
    fill_form(page, "demo-farmacia", "not-the-password")
    page.get_by_text("Usuario o contraseña incorrectos").first.wait_for()
    assert page.url.startswith(stack_env["KEYCLOAK_PUBLIC_URL"])


@pytest.mark.parametrize("login", LOGINS)
def test_each_account_comes_in_with_small_cookies_that_scripts_cannot_read(
    login, new_context, open_airflow, stack_env, measured
):
    context = new_context()
    refused = []
    context.on("response", lambda answer: refused.append(answer) if answer.status >= 500 else None)
    began = time.monotonic()
    page = open_airflow(context, login)
    seconds = round(time.monotonic() - began, 2)
    me = context.request.get(f"{stack_env['AIRFLOW_PUBLIC_URL']}/ui/auth/me")
    assert me.json()["username"] == login
    cookies = airflow_cookies(context, stack_env)
    assert {"_token", "_id_token", "_access_token", "_refresh_token"} <= cookies.keys()
    sizes = {name: len(name) + len(cookie["value"]) for name, cookie in cookies.items()}
    measured[login] = {"login_s": seconds, "cookie_bytes": sizes}
    assert max(sizes.values()) < LARGEST_COOKIE / 2, sizes
    assert sum(sizes.values()) < LARGEST_COOKIE, sizes
    for name, cookie in cookies.items():
        assert cookie["httpOnly"], name
        assert cookie["secure"], name
        assert cookie["sameSite"] == "Lax", name
    assert refused == []
    assert page.title()


def test_one_login_opens_every_window_of_the_browser(new_context, open_airflow, stack_env):
    context = new_context()
    open_airflow(context, "demo-medicina")
    context.clear_cookies(domain=airflow_cookies(context, stack_env)["_token"]["domain"])
    page = context.new_page()
    page.goto(stack_env["AIRFLOW_PUBLIC_URL"])
    page.get_by_test_id("nav-home-link").wait_for()


def test_logging_out_really_logs_out(new_context, open_airflow, stack_env, trust):
    base = stack_env["AIRFLOW_PUBLIC_URL"]
    context = new_context()
    page = open_airflow(context, "demo-farmacia")
    before = {c["name"]: c["value"] for c in context.cookies(base)}
    page.get_by_role("button", name="Usuario").click()
    page.get_by_role("menuitem", name="Cerrar sesión").click()
    page.get_by_role("dialog").get_by_role("button", name="Confirmar").click()

    page.locator("#username").wait_for()  # Keycloak asks again: its session is gone too
    assert "_token" not in airflow_cookies(context, stack_env)
    assert context.request.get(f"{base}/ui/auth/me").status == 401
    page.goto(base)
    page.locator("#username").wait_for()

    # Somebody who kept the cookies gets nothing for them.
    with httpx.Client(verify=trust, base_url=base, cookies=before, timeout=30) as thief:
        for path in ("/ui/auth/me", "/api/v2/dags", "/api/v2/pools"):
            assert thief.get(path).status_code in {401, 403}, path


def test_who_is_disabled_is_out_at_the_next_request(new_context, stack_env):
    name, password = f"test-{secrets.token_hex(4)}", "Correct-horse-battery-7"
    person = {
        "username": name,
        "enabled": True,
        "email": f"{name}@clinica.example",
        "firstName": "Ana",
        "lastName": "Prueba",
        "groups": ["/medicina"],
        "credentials": [{"type": "password", "value": password}],
    }
    url = f"{stack_env['AIRFLOW_PUBLIC_URL']}/api/v2/pools"
    with admin_api(stack_env, f"/{stack_env['KEYCLOAK_REALM']}") as keycloak:
        assert keycloak.post("/users", json=person).status_code == 201
        found = keycloak.get("/users", params={"username": name, "exact": "true"}).json()[0]
        try:
            context = new_context()
            page = context.new_page()
            page.goto(stack_env["AIRFLOW_PUBLIC_URL"])
            fill_form(page, name, password)
            page.get_by_test_id("nav-home-link").wait_for()
            assert context.request.get(url).status == 200
            found["enabled"] = False
            assert keycloak.put(f"/users/{found['id']}", json=found).is_success
            assert context.request.get(url).status == 403
        finally:
            keycloak.delete(f"/users/{found['id']}")


def test_the_pages_look_right_on_a_desk_and_on_a_phone(
    new_context, session_of, stack_env, screenshots
):
    base = stack_env["AIRFLOW_PUBLIC_URL"]
    for name, width, height in (("desktop", 1280, 800), ("phone", 390, 844)):
        page = new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(base)
        page.locator("#username").wait_for()
        page.screenshot(path=screenshots / f"login-{name}.png")
        for login in ("demo-farmacia", "demo-sistemas"):
            page = session_of(login).new_page()
            page.set_viewport_size({"width": width, "height": height})
            page.goto(base)
            page.get_by_text("Te damos la bienvenida").wait_for()
            page.wait_for_timeout(1000)  # its panels ask one after the other
            page.screenshot(path=screenshots / f"airflow-{login}-{name}.png")
            assert page.get_by_text("404 Not Found").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.close()
