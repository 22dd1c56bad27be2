"""The viewer's server: each attack that a web page or another user can try is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="needs the extra `view`")
pytest.importorskip("uvicorn", reason="needs the extra `view`")

from ifdkit.viewing.security import HEADERS
from ifdkit.viewing.server import ASSETS
from tests.viewing_fixtures import HOSTILE, Client, read, served, write_rows

BANNED = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"),
    *("<style", " style=", "https:", "//cdn", 'onclick="'),
)
"""What the files of the page must not have."""
ROWS = [{"id": f"r{i}", "instruction": f"Say {i} {HOSTILE}", "output": HOSTILE} for i in range(5)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("view")
    (folder / "secret.txt").write_text("secret")
    session = read(folder, write_rows(folder / "data.jsonl", ROWS))
    session.start = lambda: None  # type: ignore[method-assign]  # it has been read already
    with served(session) as made:
        yield made


def test_the_page_is_served_with_the_cookie(client: Client) -> None:
    """Positive control of all refusals below."""
    assert client.ask("/")[0] == 200
    assert client.get("state")["loaded"] == 5


def test_without_a_token_nothing_is_served(client: Client) -> None:
    for path in ("/", "/assets/main.js", "/api/state", "/api/row?at=0", "/?token=", "/?token=x"):
        status, _, body = client.ask(path, headers={"Cookie": ""})
        assert status == 403
        assert b"Say" not in body


def test_a_wrong_cookie_is_refused(client: Client) -> None:
    name = client.cookie.split("=")[0]
    for cookie in (f"{name}=", f"{name}=x", f"other={client.cookie.split('=')[1]}", "\x80", '"'):
        assert client.ask("/api/state", headers={"Cookie": cookie})[0] == 403


def test_the_token_opens_the_page_only(client: Client) -> None:
    query = urlsplit(client.address).query
    assert client.ask(f"/?{query}", headers={"Cookie": ""})[0] == 200
    assert client.ask(f"/api/state?{query}", headers={"Cookie": ""})[0] == 403


def test_the_cookie_is_strict_and_hidden_from_scripts(client: Client) -> None:
    _, headers, _ = client.ask(f"/?{urlsplit(client.address).query}")
    attributes = {one.strip().lower() for one in headers["set-cookie"].split(";")[1:]}
    assert attributes == {"path=/", "httponly", "samesite=strict"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
                                  "127.0.0.1:{port}.evil.example", "[::1]:{port}", ""])  # fmt: skip
def test_another_host_is_refused(client: Client, host: str) -> None:
    """DNS rebinding: the name of an attacker leads to 127.0.0.1, and the cookie would be sent."""
    query = urlsplit(client.address).query
    given = {"Host": host.format(port=client.port)}
    assert client.ask("/api/state", headers=given)[0] == 403
    assert client.ask(f"/?{query}", headers=given)[0] == 403


def test_requests_of_other_sites_are_refused(client: Client) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{client.port + 1}"},
    ):
        assert client.ask("/api/state", headers=headers)[0] == 403
    own = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{client.port}"}
    assert client.ask("/api/state", headers=own)[0] == 200


def test_a_mark_needs_a_request_of_the_page(client: Client) -> None:
    body = json.dumps({"at": 0, "mark": "star"}).encode()
    kind = {"Content-Type": "application/json"}
    form = {"Content-Type": "text/plain"}
    other = {**kind, "Origin": "http://evil.example"}
    assert client.ask("/api/mark", method="POST", headers=form, body=body)[0] == 415
    assert client.ask("/api/mark", method="POST", headers=other, body=body)[0] == 403
    assert client.ask("/api/mark?at=0&mark=star", headers=kind)[0] == 405
    assert client.get("state")["marks"] == {"star": 0, "drop": 0}
    assert client.ask("/api/mark", method="POST", headers=kind, body=body)[0] == 200
    assert client.get("state")["marks"] == {"star": 1, "drop": 0}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"at": "0", "mark": "star"}', b"[" * 5000,
                                  b'{"at": true, "mark": null}', b'{"at": 0, "mark": "x"}',
                                  b'{"at": 99, "mark": "star"}', b"x" * 20_000])  # fmt: skip
def test_other_marks_are_refused(client: Client, body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    assert client.ask("/api/mark", method="POST", headers=kind, body=body)[0] in (400, 413)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    assert client.ask("/api/row?at=0", method=method)[0] == 405


@pytest.mark.parametrize("path", ["/assets/../secret.txt", "/assets/..%2fsecret.txt", "/secret.txt",
                                  "/assets/%2e%2e%2fserver.py", "/assets//etc/passwd",
                                  "/assets/..%5c..%5csecret.txt", "/assets/main.js%00.txt",
                                  "//evil.example/", "/assets/", "/.env"])  # fmt: skip
def test_no_path_leads_to_another_file(client: Client, path: str) -> None:
    status, headers, body = client.ask(path)
    assert status == 404
    assert b"secret" not in body
    assert "location" not in headers


@pytest.mark.parametrize("path", ["/", "/assets/main.js", "/api/state", "/api/row?at=99", "/no"])
def test_every_answer_has_the_policy(client: Client, path: str) -> None:
    for cookie in (client.cookie, ""):
        _, headers, _ = client.ask(path, headers={"Cookie": cookie})
        for name, value in HEADERS.items():
            assert headers[name.lower()] == value
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert "access-control-allow-origin" not in headers


def test_the_files_of_the_page_have_nothing_inline_or_from_elsewhere(client: Client) -> None:
    for name in ASSETS:
        text = client.ask("/" if name == "index.html" else f"/assets/{name}")[2].decode()
        for banned in BANNED:
            assert banned not in text, f"{banned} in {name}"


def test_dataset_text_is_sent_as_json_only(client: Client) -> None:
    status, headers, body = client.ask("/api/row?at=0")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert "\u202e" not in body.decode()
    assert json.loads(body)["sides"][0]["response"] == HOSTILE.replace("\u202e", "\\u202e")


@pytest.mark.parametrize("q", ["x", "[]", '{"ranges": [["quality", "x", 1]]}', '{"facets": 3}',
                               '{"where": "no_such < 1"}', '{"where": "id =="}', "[" * 3000,
                               '{"ranges": [["no_such", 0, 1]]}',
                               '{"facets": [["id", "r1"]]}'])  # fmt: skip
def test_wrong_queries_are_one_line_errors(client: Client, q: str) -> None:
    from urllib.parse import quote

    status, _, body = client.ask(f"/api/rows?begin=0&count=10&q={quote(q)}")
    assert status == 400
    assert "\n" not in json.loads(body)["error"]
