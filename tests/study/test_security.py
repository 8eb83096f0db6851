"""Whoever may connect to one of Dask's processes may run code as its user: these let nobody in but the run."""

import asyncio
import os
import re
import stat
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
from checkout import unicomp
from clusters import SBATCH, dask_scheduler, end_jobs, worker
from distributed import Client, Security
from distributed.core import connect

from unicomp_lib.study import records, scheduler, security, slurm
from unicomp_lib.study.params import Cluster

STRANGERS = {"plain": lambda: {}, "with a certificate of its own": lambda: other().get_connection_args("client")}


def other():
    """What a stranger could make."""
    return Security.temporary()


def refuses(address, arguments):
    """Whether a process turns a connection down before a message was read."""
    protocol = "tls" if "ssl_context" in arguments else "tcp"

    async def ask():
        comm = await connect(address.replace("tls://", f"{protocol}://"), timeout=5, **arguments)
        try:
            await comm.write({"op": "identity", "reply": True})
            return await asyncio.wait_for(comm.read(), 5)
        finally:
            comm.abort()

    try:
        return not asyncio.run(ask())
    except OSError:
        return True


def addresses(client):
    """Of the scheduler, the workers and the nannies that watch over these."""
    client.wait_for_workers(1)
    found = client.scheduler_info(n_workers=-1)
    return {found["address"], *found["workers"], *(each["nanny"] for each in found["workers"].values())}


@pytest.fixture
def submitting(tmp_path, monkeypatch):
    """A machine that stands in for SLURM; run folders are in the test's own folder."""
    for name, text in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\ntrue\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("UNICOMP_JOBS", str(tmp_path))
    monkeypatch.setattr(records, "runs", lambda: tmp_path / "runs")
    yield Cluster(jobs=1, gpus=0, cores=1, memory="1GB")
    end_jobs(tmp_path)


@contextmanager
def opened(jobs):
    with scheduler._client(1, None, jobs) as client:
        if jobs:
            client.submit(os.getpid).result(timeout=60)  # jobs come when there is work
        yield client


@pytest.mark.parametrize("where", ["local", "slurm"])
def test_strangers_are_refused_by_every_process_and_the_run_is_not(where, submitting):
    with opened(submitting if where == "slurm" else None) as client:
        found = addresses(client)
        assert len(found) == 3
        for address in found:
            assert address.startswith("tls://")
            for stranger, arguments in STRANGERS.items():
                assert refuses(address, arguments()), f"{address} answers one that is {stranger}"
            assert not refuses(address, client.security.get_connection_args("client"))
        address = client.scheduler.address
        for given in ({"address": address.replace("tls", "tcp")}, {"address": address, "security": other()}):
            with pytest.raises(OSError, match=r"CommClosed|reset|TLS certificate does not match|Timed out"):
                Client(**given, timeout=5)
        assert client.submit(os.getpid).result(timeout=60) != os.getpid()


@pytest.mark.parametrize("where", ["local", "slurm"])
def test_the_dashboard_answers_at_the_address_that_is_printed_and_on_this_machine_alone(where, submitting):
    with opened(submitting if where == "slurm" else None) as client:
        link = client.dashboard_link
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", link)
        with urllib.request.urlopen(link, timeout=30) as page:
            assert page.status == 200
        port = int(link.split(":")[2].split("/")[0])
        listening = [each.laddr for each in psutil.Process().net_connections() if each.status == psutil.CONN_LISTEN]
        assert [place.ip for place in listening if place.port == port] == ["127.0.0.1"]


def test_a_local_cluster_listens_on_this_machine_alone():
    with opened(None) as client:
        client.wait_for_workers(1)
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [
            each.laddr.ip
            for process in processes
            for each in process.net_connections()
            if each.status == psutil.CONN_LISTEN
        ]
    assert len(listening) > 2
    assert set(listening) == {"127.0.0.1"}


def test_a_runs_key_is_the_users_alone_and_goes_with_the_run(submitting, tmp_path):
    with slurm.cluster(submitting) as cluster:
        (private,) = (tmp_path / "runs" / "cluster").glob("keys-*")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert {file.name: stat.S_IMODE(file.stat().st_mode) & 0o077 for file in private.glob("key*")} == {"key.pem": 0}
        script = cluster.job_script()
        assert f"--tls-key {private / 'key.pem'}" in script
        assert f"--tls-ca-file {private / 'cert.pem'}" in script
        assert "BEGIN" not in script
        with slurm.cluster(submitting):
            assert len(list(private.parent.glob("keys-*"))) == 2
        assert list(private.parent.glob("keys-*")) == [private]
    assert not private.exists()


def test_each_run_has_a_key_of_its_own():
    assert security.temporary().tls_client_key != security.temporary().tls_client_key


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tls://host:8786", None),
        ("tcp://host:8786", "whoever reaches it can run code as you"),
        ("tcp://10.1.2.3:8786", "whoever reaches it can run code as you"),
        ("host:8786", "whoever reaches it can run code as you"),
        ("ws://host:8786", "whoever reaches it can run code as you"),
        ("tcp://127.0.0.1:8786", "other users of this machine can run code as you"),
        ("tcp://localhost:8786", "other users of this machine can run code as you"),
        ("tcp://[::1]:8786", "other users of this machine can run code as you"),
    ],
)
def test_an_address_without_tls_is_warned_of(address, says):
    text = security.warning(address)
    assert text.count("\n") == 0
    assert says in text if says else text == ""


@pytest.fixture
def certificates(tmp_path):
    """Files of a run's key by Dask's names for the three roles."""
    with security.stored(tmp_path) as made:
        names = {"CA_FILE": made.tls_ca_file}
        for role in ("CLIENT", "SCHEDULER", "WORKER"):
            names |= {f"{role}__KEY": made.tls_client_key, f"{role}__CERT": made.tls_client_cert}
        yield {f"{security.TLS}{name}": value for name, value in names.items()}


@pytest.mark.parametrize("tls", [True, False])
def test_a_scheduler_at_an_address(copy, certificates, monkeypatch, tls):
    """With TLS it takes who names the certificates, and says nothing; without, it takes anyone, and says so."""
    one = ("--profile", "tiny", "--only", "compress/tiny/dense")
    with monkeypatch.context() as patch:
        for name, value in certificates.items() if tls else ():
            patch.setenv(name, value)
        with dask_scheduler(copy, *(["--protocol", "tls"] if tls else [])) as (_, address), worker(copy, address):
            assert address.startswith("tls://" if tls else "tcp://")
            done = unicomp(copy, "reproduce", *one, "--scheduler", address)
            for name in certificates:
                patch.delenv(name, raising=False)
            stranger = unicomp(copy, "reproduce", *one, "--force", "*", "--scheduler", address) if tls else None
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 step on 1 worker" in done.stdout
    assert "1 of 1 step stands, 1 of them run now" in done.stdout
    assert done.stderr.count("can run code as you") == (0 if tls else 1)
    if stranger:
        assert stranger.returncode == 2
        assert stranger.stderr.splitlines()[-1].startswith(
            f"error: '{address}' needs certificates; name their files in"
        )
