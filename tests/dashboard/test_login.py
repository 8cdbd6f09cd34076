"""Who gets in, and what no other site can do."""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from pathlib import Path

import pytest

from compass.dashboard.sessions import OWN_KEY, Sessions, keys_or_own
from compass.errors import ConfigError
from compass.serve.keys import Key, Keys, read_keys
from dashboard_client import ACT, CLIENT, ORIGIN, VIEW, Site, token

PAGES = ("/", "/cy", "/cy/promote", "/cy/to-label.jsonl", "/status", "/events", "/cy/report/x")


@pytest.fixture
def outside(made: Path) -> Site:
    """Nobody is logged in."""
    return Site(made, key="")


def test_nothing_is_shown_without_a_key(outside: Site) -> None:
    """Would break if a page, an action or the stream of events answers somebody who is not logged in."""
    for path in PAGES:
        assert "Log in" in outside.get(path).text, path
    answer = outside.client.post("/dashboard/cy/rollback", data={"csrf": "x"}, headers=ORIGIN)
    assert "Log in" in answer.text
    assert "Welsh" not in answer.text


@pytest.mark.parametrize("key", ["wrong", CLIENT, "", "\ud800x"])
def test_other_keys_do_not_open_it(outside: Site, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Would break if a client's key opens the dashboard, or a key that was tried is in the log."""
    caplog.set_level(logging.DEBUG)
    answer = outside.log_in(key.encode("utf-8", "replace").decode())
    assert answer.status_code == 403
    assert "does not open the dashboard" in answer.text
    assert not key or key not in caplog.text


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(outside: Site) -> None:
    """Would break if a script or another site's request could use the session."""
    page = outside.get("/login")
    answer = outside.client.post(
        "/dashboard/login", data={"key": ACT, "csrf": token(page.text)}, headers=ORIGIN, follow_redirects=False
    )
    cookie = next(value for name, value in answer.headers.multi_items() if "compass_dashboard" in value)
    assert {"HttpOnly", "SameSite=strict", "Path=/dashboard"} <= set(cookie.split("; "))
    assert ACT not in cookie
    secure = outside.client.get("/dashboard/login", headers={"x-forwarded-proto": "https"})
    assert "Secure" in secure.headers["set-cookie"]


def test_a_login_is_not_taken_from_another_page(outside: Site) -> None:
    """Would break if another site could log somebody in under its own key."""
    outside.get("/login")
    for data, headers in (
        ({"key": ACT, "csrf": "guessed"}, ORIGIN), ({"key": ACT}, ORIGIN),
        ({"key": ACT, "csrf": outside.client.cookies["compass_login"]}, {"origin": "https://evil.example"}),
        ({"key": ACT, "csrf": outside.client.cookies["compass_login"]}, {}),
        ({"key": ACT, "csrf": outside.client.cookies["compass_login"]}, {"origin": "null"}),
    ):  # fmt: skip
        assert outside.client.post("/dashboard/login", data=data, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [({}, True), ({"origin": "https://evil.example"}, True), ({"origin": "null"}, True), (ORIGIN, False)],
)
def test_a_forged_action_is_refused(own: Site, headers: dict[str, str], csrf: bool) -> None:
    """Would break if a form of another site, or one without the session's token, moves an alias."""
    before = own.registry.aliases("cy")
    data = {"version": before.previous, "expected": before.current}
    data |= {"csrf": token(own.get("/cy").text)} if csrf else {"csrf": "x" * 43}
    answer = own.client.post("/dashboard/cy/rollback", data=data, headers=headers)
    assert answer.status_code == 403
    assert own.registry.aliases("cy") == before


def test_who_may_look_may_not_act(made: Path) -> None:
    """Would break if a key with the right `view` moves an alias, or is offered to."""
    site = Site(made, VIEW)
    page = site.get("/cy").text
    assert "/dashboard/cy/promote" not in page
    assert "checkbox" not in page
    now = site.registry.aliases("cy")
    answer = site.act("/cy/rollback", version=now.previous, expected=now.current)
    assert answer.status_code == 403
    assert site.registry.aliases("cy") == now


def test_tries_are_few(outside: Site) -> None:
    """Would break if keys could be tried at any speed."""
    codes = [outside.log_in(f"try {i}").status_code for i in range(8)]
    assert codes[:5] == [403] * 5
    assert 429 in codes


def test_logging_out_ends_the_session(made: Path) -> None:
    """Would break if a cookie that somebody kept is good after the log-out."""
    site = Site(made)
    cookie = site.client.cookies["compass_dashboard"]
    site.act("/logout")
    site.client.cookies.set("compass_dashboard", cookie, path="/dashboard")
    assert "Log in" in site.get("/").text


def test_sessions_end(made: Path) -> None:
    """Would break if a session lasted for ever."""
    now = [0.0]
    sessions = Sessions(Keys([Key("a", sha256(b"k").hexdigest(), dashboard="act")]), clock=lambda: now[0])
    cookie = sessions.open("k")
    assert sessions.find(cookie)
    now[0] = 12 * 3600 + 1
    assert sessions.find(cookie) is None
    assert sessions.find("") is None


def test_every_answer_has_a_policy(site: Site) -> None:
    """Would break if a page could load or be framed from elsewhere, or stayed in a cache."""
    for path in ("/", "/cy", "/login", "/static/dashboard.js", "/nowhere"):
        headers = site.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] in ("no-store", "no-cache")


def test_pages_ask_nothing_of_other_servers(site: Site) -> None:
    """Would break if an asset came from elsewhere."""
    for path in ("/", "/cy", "/login", "/static/base.css", "/static/dashboard.css", "/static/dashboard.js"):
        assert not re.search(r"(?:https?:)?//[a-z]", site.get(path).text.replace("http://www.w3.org", "")), path


def test_without_a_key_of_ones_own_one_lies_in_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Would break if a laptop needed a keys file, if the key changed with a restart, or if it were in the log."""
    caplog.set_level(logging.DEBUG)
    keys = keys_or_own(Keys([Key("app", "0" * 64)]), tmp_path / "serve")
    file = tmp_path / "serve" / OWN_KEY
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(key) == 64
    assert keys.known(key).dashboard == "act"  # type: ignore[union-attr]
    assert keys_or_own(Keys(), tmp_path / "serve").known(key)
    assert key not in caplog.text
    file.write_text("")
    assert keys_or_own(Keys(), tmp_path / "serve").known("") is None


def test_rights_are_read_and_checked(tmp_path: Path) -> None:
    """Would break if a right in a file or the environment is lost, or a wrong one is taken."""
    digest = "a" * 64
    file = tmp_path / "keys.yaml"
    file.write_text(f"anna:\n  sha256: {digest}\n  dashboard: act\n")
    assert read_keys(str(file), {}).open_dashboard
    assert not read_keys("", {"COMPASS_SERVE_KEYS": f"app={digest}"}).open_dashboard
    file.write_text(f"anna:\n  sha256: {digest}\n  dashboard: admin\n")
    with pytest.raises(ConfigError, match="must be view or act"):
        read_keys(str(file), {})
    with pytest.raises(ConfigError, match="another"):
        read_keys("", {"COMPASS_SERVE_KEYS": f"app={digest}:admin"})
