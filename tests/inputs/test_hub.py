import errno
import os
import subprocess
import sys

import httpx
import hub
import hub_content
import polars as pl
import pytest
from huggingface_hub import errors

from unicomp_lib.inputs import hub as data_sets

READ = """
from unicomp_lib.inputs import hub
try:
    print(len(hub.rows({name!r}, {config!r}, {split!r})))
except ConnectionError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    return hub_content.stocked(tmp_path_factory.mktemp("hub"), leave_out={"piqa"})


@pytest.fixture
def read(stocked, tmp_path):
    """Read rows in a process of its own, since the hub's address is fixed when its client is imported."""

    def ask(server, name, config, split, **extra):
        env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "UNICOMP_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        env |= {"HF_ENDPOINT": server.endpoint, **extra}
        code = READ.format(name=name, config=config, split=split)
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    return ask


def test_what_was_downloaded_once_is_read_without_asking_the_hub(stocked, read, tmp_path):
    with hub.serving(hub.Hub(stocked)) as server:
        assert read(server, "arc", "ARC-Easy", "test") == str(hub_content.COUNT)
        asked = len(server.requests)
        assert asked > 0
        assert read(server, "arc", "ARC-Easy", "test") == str(hub_content.COUNT)
        assert len(server.requests) == asked
    assert read(server, "arc", "ARC-Easy", "test", HF_HUB_OFFLINE="1") == str(hub_content.COUNT)
    assert [path.name for path in (tmp_path / "hub").rglob("*.parquet")] == ["test.parquet"]


def test_the_pinned_commit_is_asked_for(stocked, read):
    with hub.serving(hub.Hub(stocked)) as server:
        read(server, "gsm8k", "main", "test")
    assert any(data_sets.catalogue()["gsm8k"].revision in request for request in server.requests)


@pytest.mark.parametrize(
    ("name", "config", "split", "said"),
    [
        ("gpqa", "gpqa_diamond", "train", "accept its terms at https://huggingface.co/datasets/Idavidrein/gpqa, and"),
        ("piqa", "default", "validation", "correct its name, or"),
        ("hellaswag", "other", "validation", "hellaswag, other, validation, could not be downloaded"),
    ],
)
def test_a_refusal_is_one_sentence(stocked, read, name, config, split, said):
    with hub.serving(hub.Hub(stocked, gated={"Idavidrein/gpqa"})) as server:
        answer = read(server, name, config, split)
    assert answer.startswith("HubError data set ")
    assert said in answer


REFUSED = """
from unicomp_lib.inputs import hub
print(*hub.refusals([], dict.fromkeys({names!r})), sep=chr(10))
"""


def test_every_kind_of_refusal_is_a_sentence_of_its_own(stocked, tmp_path):
    statuses = {"arc": 403, "gsm8k": 404, "hellaswag": 429, "mmlu": 503}
    repositories = {data_sets.catalogue()[name].repository: status for name, status in statuses.items()}
    with hub.serving(hub.Hub(stocked, statuses=repositories)) as server:
        env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "UNICOMP_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        code = REFUSED.format(names=list(statuses))
        env |= {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": "hf_x"}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == len(statuses), done.stderr
    for line, status in zip(lines, statuses.values(), strict=True):
        assert line.startswith("dataset ")
        assert line.endswith(data_sets.ANSWERS.get(status, data_sets.BROKEN)) or status == 404, line
    assert "correct its name" in lines[1]


def answered(status, kind=errors.HfHubHTTPError):
    return kind("no", response=httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x")))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (answered(401), "your token is not valid"),
        (answered(403), "your token may not read it"),
        (answered(404), "correct its name and revision"),
        (answered(429), "asked too often"),
        (answered(500), "try again later"),
        (answered(504), "try again later"),
        (answered(403, errors.GatedRepoError), "accept its terms at PAGE"),
        (answered(403, errors.DisabledRepoError), "the hub has disabled it: see PAGE"),
        (answered(401, errors.RepositoryNotFoundError), "correct its name, or log in"),
        (answered(404, errors.RevisionNotFoundError), "correct its revision"),
        (answered(404, errors.RemoteEntryNotFoundError), "correct its revision"),
        (errors.LocalEntryNotFoundError("no"), "see that this machine reaches the hub"),
        (errors.OfflineModeIsEnabled("no"), "see that this machine reaches the hub"),
        (httpx.ConnectError("no"), "see that this machine reaches the hub"),
        (OSError(errno.ENOSPC, "no"), "the disk is full"),
        (OSError(errno.EDQUOT, "no"), "the disk is full"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_to_do_follows_from_the_error(error, said, wrapped):
    given = error
    if wrapped:
        given = RuntimeError("something else")
        given.__cause__ = error
    with pytest.raises(data_sets.HubError, match=said) as caught, data_sets.asking("it", "PAGE"):
        raise given
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("it could not be downloaded from the hub (")


def test_without_a_network_it_is_said_what_to_do(stocked, read):
    with hub.serving(hub.Hub(stocked)) as server:
        pass
    for extra in ({"HF_HUB_OFFLINE": "1"}, {}):
        answer = read(server, "mmlu", "all", "test", **extra)
        assert "could not be downloaded from the hub" in answer
        assert "nox -s prefetch" in answer


def test_a_transfer_that_breaks_off_leaves_no_file_or_a_whole_one(tmp_path_factory, read, tmp_path):
    folder = tmp_path_factory.mktemp("large")
    chance = pl.Series("text", [os.urandom(3000).hex() for _ in range(400)])
    hub.publish(folder, "Salesforce/wikitext", {"wikitext-2-raw-v1": {"test": [{"text": text} for text in chance]}})
    with hub.serving(hub.Hub(folder, broken=1)) as server:
        answers = [read(server, "wikitext2", "wikitext-2-raw-v1", "test") for _ in range(2)]
    assert server.broken == 0
    assert answers[-1] == "400"
    [path] = (tmp_path / "hub").rglob("*.parquet")
    assert pl.read_parquet(path)["text"].to_list() == chance.to_list()
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".parquet"] == ["test.parquet"]


def test_every_data_set_is_pinned_by_a_whole_commit():
    for name, wanted in data_sets.catalogue().items():
        assert len(wanted.revision) == 40, name
        assert wanted.licence, name


def test_another_revision_or_file_has_another_place(monkeypatch, home):
    places = {data_sets._note("org/m", name) for name in ("checkpoint-1000", "checkpoint-1500", "a/b", "a-b", "f" * 40)}
    assert len(places) == 5
    assert data_sets._note("org/m", "f" * 40).name == f"org--m-{'f' * 12}.json"
    (name,) = [name for name, wanted in data_sets.catalogue().items() if wanted.file]
    wanted, split = data_sets.catalogue()[name], data_sets._parts(name, None)[0]
    before = data_sets._path(name, *split)
    monkeypatch.setitem(data_sets.catalogue(), name, wanted.model_copy(update={"file": "other.json.gz"}))
    assert data_sets._path(name, *split) != before
