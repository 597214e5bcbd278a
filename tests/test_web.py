"""What a stranger at the door can try against the very process that `make up` starts, and what it does while Redis is frozen."""

import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests import web as webs
from webapp import connection


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    with webs.running(tmp_path_factory.mktemp("web")) as process:
        yield process


def written(web):
    return web.log.read_text()


# --- logs ----------------------------------------------------------------------------------------------------------------


def test_no_address_that_somebody_visits_is_written_down(web):
    with web.browser() as browser:
        assert web.sign_in(browser, "alice").status_code == 302
        assert browser.get("/datasets/?q=findme-page").status_code == 200
        assert browser.get("/nothing/?q=findme-missing").status_code == 404
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    assert web.api("GET", "/datasets?q=findme-api").status_code == 200
    opened = {"additional_headers": {"Cookie": cookies}, "origin": web.base}
    with connect(f"ws://127.0.0.1:{web.port}/ws/runs/{'0' * 8}-0000-7000-8000-{'0' * 12}?after=findme-socket", **opened) as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=10)
    with socket.create_connection(("127.0.0.1", web.port)) as raw:
        raw.sendall(b"nonsense?q=findme-raw\r\n\r\n")
        assert b"400" in raw.recv(1000)
    assert "findme" not in written(web) and "127.0.0.1" not in written(web), written(web)


# --- sockets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws/nothing", "/", "/ws/runs/1", "/ws/runs/%ff", "/accounts/login/"])
def test_a_socket_at_no_address_closes_quietly(web, path):
    with connect(f"ws://127.0.0.1:{web.port}{path}", origin=web.base) as ws:
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=10)
    assert closed.value.rcvd.code == 4404
    assert "Traceback" not in written(web) and '"error"' not in written(web), written(web)


# --- who somebody says they are ------------------------------------------------------------------------------------------


def guesses(web, n):
    """How many of `n` wrong sign-ins, each for another name and from another forwarded address, were refused as too many."""
    refused = 0
    with web.browser() as browser:
        for k in range(n):
            answer = web.sign_in(browser, f"nobody-{k}", "wrong wrong", **{"X-Forwarded-For": f"203.0.113.{k}"})
            refused += "Too many" in answer.text
    return refused


def test_nobody_guesses_on_by_saying_that_they_come_from_elsewhere(web):
    assert guesses(web, 14) >= 3


def test_behind_a_proxy_that_the_operator_named_people_are_told_apart(web):
    web.stop()
    web.start(FORWARDED_ALLOW_IPS="127.0.0.1")
    try:
        assert guesses(web, 14) == 0
    finally:
        web.stop()
        web.start()


# --- patience ------------------------------------------------------------------------------------------------------------


def closes_within(raw, seconds, drip=b""):
    """The last bytes that come before the server hangs up, and after how long."""
    began, got = time.monotonic(), b""
    raw.settimeout(0.5)
    while time.monotonic() - began < seconds:
        try:
            if drip:
                raw.sendall(drip)
            piece = raw.recv(1000)
        except TimeoutError:
            continue
        except OSError:
            return got, time.monotonic() - began
        if not piece:
            return got, time.monotonic() - began
        got += piece
    raise AssertionError(f"still open after {seconds} s")


def test_half_a_request_is_not_waited_for_for_ever(web):
    address = ("127.0.0.1", web.port)
    with socket.create_connection(address) as half, socket.create_connection(address) as idle, socket.create_connection(address) as again:
        half.sendall(b"GET /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        again.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in again.recv(2000)
        again.sendall(b"GET /healthz/live HTTP/1.1\r\nX-B: ")
        got, took = closes_within(half, connection.HEAD_LIMIT_S + 20, drip=b"a")
        assert took > connection.HEAD_LIMIT_S - 2 and (b"408" in got or not got)
        closes_within(idle, 20)
        closes_within(again, 20)


def test_headers_without_end_are_cut(web):
    with socket.create_connection(("127.0.0.1", web.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 60_000)
        got, took = closes_within(raw, 5, drip=b"a" * 10_000)
        assert took < 4 and (b"431" in got or not got)


def test_a_slow_person_with_whole_requests_is_served_on(web):
    with socket.create_connection(("127.0.0.1", web.port)) as raw:
        for _ in range(3):
            raw.sendall(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = b""
            while b'"ok"}' not in got:
                got += raw.recv(2000)
            assert b"200 OK" in got
            time.sleep(1.5)


def test_a_stranger_sends_no_large_file(web):
    with web.browser() as browser:
        answer = browser.post("/api/v1/datasets", files={"file": ("a.csv", b"x" * 5_000_000)})
        assert answer.status_code == 401 and "token" in answer.json()["detail"]
        small = browser.post("/api/v1/datasets", files={"file": ("a.csv", b"text,label\n")})
        assert small.status_code == 401
    assert web.api("POST", "/datasets", files={"file": ("a.csv", b"text,label\n" + b"fine,good\n" * 200_000)}).status_code == 202


# --- Redis ---------------------------------------------------------------------------------------------------------------


def test_people_come_in_while_redis_is_frozen_and_guessing_is_slowed_all_the_same(web):
    with web.frozen_redis(), web.browser() as alice, web.browser() as thief:
        began = time.monotonic()
        assert web.sign_in(alice, "alice").status_code == 302
        assert alice.get("/").status_code == 200
        assert alice.get("/runs/").status_code == 200
        assert time.monotonic() - began < 8
        answers = [web.sign_in(thief, "bob", f"wrong {n}") for n in range(7)]
        assert all(answer.status_code == 200 for answer in answers) and "Too many" in answers[-1].text
        assert httpx_ready(web) == 503
    deadline = time.monotonic() + 20
    while httpx_ready(web) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def httpx_ready(web):
    with web.browser() as browser:
        return browser.get("/healthz/ready").status_code
