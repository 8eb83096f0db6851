"""Steps on several machines' workers: processes here stand in for the machines, and a script for SLURM."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import yaml
from checkout import copied, environment, steps, unicomp, wait_for, worker_of
from clusters import SBATCH, dask_scheduler, end_jobs, worker

from unicomp_lib.study import params, records, scheduler, slurm
from unicomp_lib.study.params import Cluster


@pytest.fixture
def checkout(tmp_path):
    return copied(tmp_path / "study")


def reproduce(checkout, *arguments):
    command = [
        sys.executable,
        "-m",
        "unicomp_lib",
        "reproduce",
        "--profile",
        "tiny",
        "--only",
        "compress/*",
        *arguments,
    ]
    with (checkout / "run.log").open("w") as log:
        return subprocess.Popen(command, cwd=checkout, env=environment(checkout), stdout=log, stderr=log)


def finished(checkout):
    return sorted(run.name for run in (checkout / "runs").glob("compress.*") if records.finished(run))


def test_a_killed_worker_costs_one_step_and_a_killed_scheduler_none_that_is_finished(checkout):
    with ExitStack() as stack:
        boss, address = stack.enter_context(dask_scheduler(checkout))
        for _ in range(2):
            stack.enter_context(worker(checkout, address))
        run = reproduce(checkout, "--scheduler", address)
        wait_for(lambda: steps(checkout))
        worker_of(steps(checkout)[0]).kill()
        wait_for(lambda: finished(checkout))
        boss.kill()
        assert run.wait(timeout=120) == 2, (checkout / "run.log").read_text()
    assert "error: the Dask scheduler is gone; finished steps are kept" in (checkout / "run.log").read_text()
    wait_for(lambda: not steps(checkout), 30)
    kept = finished(checkout)
    stamps = [(checkout / "runs" / name / records.RECORD).stat().st_mtime_ns for name in kept]
    with ExitStack() as stack:
        _, address = stack.enter_context(dask_scheduler(checkout))
        stack.enter_context(worker(checkout, address))
        run = reproduce(checkout, "--scheduler", address)
        assert run.wait(timeout=180) == 0, (checkout / "run.log").read_text()
    assert len(finished(checkout)) == 4
    assert [(checkout / "runs" / name / records.RECORD).stat().st_mtime_ns for name in kept] == stamps


@contextmanager
def cable(address):
    """A relay to an address, and what cuts it: bytes go neither way then, and nobody is told."""
    target = tuple(address.removeprefix("tcp://").split(":"))
    cut, server = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def carry(source, sink):
        while data := source.recv(1 << 16):
            if cut.is_set():
                return
            sink.sendall(data)

    def serve():
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection((target[0], int(target[1])))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}", cut
    server.close()


def test_a_worker_whose_network_is_gone_loses_its_step_to_another(checkout):
    quick = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s"}  # the default waits 5 minutes before it gives a worker up
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv(*next(iter(quick.items())))
        _, address = stack.enter_context(dask_scheduler(checkout))
        relayed, cut = stack.enter_context(cable(address))
        far = stack.enter_context(worker(checkout, relayed, "--name", "far"))
        run = reproduce(checkout, "--scheduler", address)
        wait_for(lambda: steps(checkout))
        cut.set()
        far.send_signal(signal.SIGSTOP)  # and so is what it would have answered over other connections
        stack.enter_context(worker(checkout, address, "--name", "near"))
        for step in steps(checkout):
            step.kill()  # the machine is unplugged, its processes with it
        assert run.wait(timeout=180) == 0, (checkout / "run.log").read_text()
        far.send_signal(signal.SIGCONT)
    assert len(finished(checkout)) == 4


def test_a_device_is_a_resource_that_one_step_at_a_time_takes(checkout):
    """Two steps that each take a second, on one worker of two threads: only those without a device overlap."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, resources={slurm.DEVICE: 1}, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        assert scheduler._room(client, None) == scheduler.Room(computing=1, steps=2, devices=True)
        spans = {}
        for kind in ("compress", "scores"):
            taken = {slurm.DEVICE: 1} if kind == "compress" else None
            futures = [client.submit(_span, f"{kind}/{number}", resources=taken, pure=False) for number in range(2)]
            spans[kind] = sorted(client.gather(futures))
    (_, first), (second, _) = spans["compress"]
    assert second >= first
    (_, first), (second, _) = spans["scores"]
    assert second < first


def _span(_):
    start = time.monotonic()
    time.sleep(0.5)
    return start, time.monotonic()


def test_the_job_script_asks_for_what_the_profile_says(monkeypatch, tmp_path):
    program = tmp_path / "sbatch"
    program.write_text(SBATCH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    wanted = Cluster(
        partition="a100", account="me", jobs=3, gpus=1, cores=6, memory="40GB", time="1-02:00:00",
        extra=["--constraint=ib"], prologue=["module load cuda"],
    )  # fmt: skip
    monkeypatch.setenv("UNICOMP_JOBS", str(tmp_path))
    with slurm.cluster(wanted) as cluster:
        script = cluster.job_script()
    lines = script.splitlines()
    for line in (
        "#SBATCH -J unicomp", "#SBATCH -p a100", "#SBATCH -A me", "#SBATCH --cpus-per-task=6", "#SBATCH --mem=38G",
        "#SBATCH -t 1-02:00:00", "#SBATCH --gres=gpu:1", "#SBATCH --constraint=ib", "module load cuda",
    ):  # fmt: skip
        assert line in lines
    assert lines.index("module load cuda") < len(lines) - 1
    assert f"{sys.executable} -m distributed.cli.dask_worker" in lines[-1]
    assert "--nthreads 2" in lines[-1]
    assert "--resources DEVICE=1 --protocol tls://" in lines[-1]
    with slurm.cluster(Cluster(gpus=0)) as cluster:
        script = cluster.job_script()
    assert "gres" not in script
    assert "--resources" not in script


def test_slurm_jobs_run_the_study(checkout, tmp_path):
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "scancel").write_text("#!/bin/sh\ntrue\n")
    for name in ("sbatch", "scancel"):
        (tmp_path / name).chmod(0o755)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    path = checkout / "params" / "tiny.yaml"
    profile = yaml.safe_load(path.read_text()) | {"cluster": {"jobs": 2, "gpus": 0, "cores": 1, "memory": "2GB"}}
    path.write_text(yaml.safe_dump(profile, sort_keys=False))
    extra = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "UNICOMP_JOBS": str(jobs)}
    only = ("--profile", "tiny", "--only", "compress/*", "--cluster", "slurm")
    try:
        done = unicomp(checkout, "reproduce", *only, **extra)
    finally:
        end_jobs(jobs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 steps on 2 workers" in done.stdout
    assert "4 of 4 steps stand, 4 of them run now" in done.stdout
    assert len(list(jobs.glob("job-*.sh"))) == 2


def test_without_slurm_or_refused_by_it_it_says_so(checkout, tmp_path):
    one = ("--profile", "tiny", "--only", "compress/tiny/dense", "--cluster", "slurm")
    done = unicomp(checkout, "reproduce", *one, PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: --cluster slurm needs the command sbatch, which this machine does not have")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: Invalid generic resource' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    done = unicomp(checkout, "reproduce", *one, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: SLURM refuses the job that the profile's section cluster describes "
        "(sbatch: error: Invalid generic resource); correct the section"
    )
    both = unicomp(checkout, "reproduce", "--cluster", "slurm", "--scheduler", "tcp://host:8786")
    assert both.returncode == 2
    assert "not allowed with argument" in both.stderr


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"gpus": 4}, "cluster.gpus"),
        ({"time": "two hours"}, "cluster.time"),
        ({"queue": "long"}, "cluster.queue"),
    ],
)
def test_a_wrong_section_is_one_sentence(copy, section, says):
    path = copy / "params" / "tiny.yaml"
    path.write_text(path.read_text() + yaml.safe_dump({"cluster": section}))
    with pytest.raises(params.ParamsError, match=says):
        params.load(str(path))
