import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from unicomp_lib import paths
from unicomp_lib.evaluate.judges import endpoint
from unicomp_lib.evaluate.judges.endpoint import Endpoint

ITEMS = [{"prompt": f"Question {index}?", "answers": ["Paris"]} for index in range(4)]
ANSWERS = ["Paris", "Rome", "Paris, of course", "who knows"]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """An endpoint on this machine; ``replies`` decides on status and text by the question asked."""
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    monkeypatch.setattr(endpoint, "ATTEMPTS", 2)
    monkeypatch.setattr(endpoint, "wait_exponential", lambda **_: lambda state: 0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append((self.path, self.headers.get("Authorization"), body))
            status, text = self.server.replies(body["messages"][0]["content"])
            content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    http.asked = []
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http
    http.shutdown()


def at(server):
    return Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "judge-model")


def test_verdicts_are_asked_for_once_and_cached(server, monkeypatch):
    monkeypatch.setenv(endpoint.KEY, "secret")
    server.replies = lambda text: (200, "1" if "ANSWER:\nParis" in text else "0")
    assert endpoint.verdicts(at(server), "right", ITEMS, ANSWERS) == [1, 0, 1, 0]
    path, key, body = server.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert body["temperature"] == 0
    assert "REFERENCE ANSWERS:\nParis" in body["messages"][0]["content"]
    assert endpoint.verdicts(at(server), "right", ITEMS, ANSWERS) == [1, 0, 1, 0]
    assert len(server.asked) == 4
    endpoint.verdicts(at(server), "refused", ITEMS, ANSWERS)
    assert len(server.asked) == 8


def test_what_it_cannot_say_is_none_and_asked_again_next_time(server):
    server.replies = lambda text: (500, "") if "Question 1" in text else (200, "maybe" if "Question 2" in text else "1")
    assert endpoint.verdicts(at(server), "right", ITEMS, ANSWERS) == [1, None, None, 1]
    assert len(server.asked) == 5  # the failing one twice
    server.replies = lambda text: (200, "0")
    assert endpoint.verdicts(at(server), "right", ITEMS, ANSWERS) == [1, 0, 0, 1]


def test_an_endpoint_that_never_answers_or_refuses_is_one_sentence(server):
    server.replies = lambda text: (404, "")
    with pytest.raises(ValueError, match=r"gave no verdict on any of 4 answers; check that it serves 'judge-model'"):
        endpoint.verdicts(at(server), "right", ITEMS, ANSWERS)
    server.replies = lambda text: (401, "")
    with pytest.raises(ValueError, match="refuses the key; set UNICOMP_JUDGE_KEY"):
        endpoint.verdicts(at(server), "right", ITEMS, ANSWERS)
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match="gave no verdict on any"):
        endpoint.verdicts(at(server), "right", ITEMS, ANSWERS)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@host/v1", "https://hunter2@host/v1", "http://:hunter2@host:8000/v1", "me:hunter2@host/v1",
        "https://host/v1?api_key=hunter2", "https://host/v1#hunter2", "https://me:hunter2@[host/v1",
    ],
)  # fmt: skip
def test_a_secret_in_the_address_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="judge_url contains a user, a password or a query") as raised:
        Endpoint(url, "judge-model")
    assert "hunter2" not in str(raised.value)
    assert "UNICOMP_JUDGE_KEY" in str(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("url", ["localhost:8000/v1", "file:///etc/passwd", "https://", "https://host:port/v1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="judge_url is no address of an endpoint; give one such as"):
        Endpoint(url, "judge-model")


def test_the_key_is_sent_and_kept_nowhere(server, monkeypatch, capfd):
    monkeypatch.setenv(endpoint.KEY, "hunter2")
    server.replies = lambda text: (200, "1")
    asked = at(server)
    endpoint.verdicts(asked, "right", ITEMS, ANSWERS)
    assert {key for _, key, _ in server.asked} == {"Bearer hunter2"}
    server.replies = lambda text: (401, "")
    with pytest.raises(ValueError, match="refuses the key") as raised:
        endpoint.verdicts(asked, "refused", ITEMS, ANSWERS)
    kept = [file.read_text() for file in paths.home().rglob("*") if file.is_file()]
    assert len(kept) == len(ANSWERS)
    printed = capfd.readouterr()
    for text in (*kept, printed.out, printed.err, str(raised.value), repr(asked)):
        assert "hunter2" not in text
