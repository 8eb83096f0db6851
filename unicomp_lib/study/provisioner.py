"""Where a step's kernel comes from: the process that was forked for it, or a new one."""

import json
import os
import signal
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

NAME = "unicomp-forked"


class Child:
    """A forked process as ``subprocess.Popen`` would have it, which waits on a pipe for what it is to be."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, pipe: Connection) -> None:
        self.pid, self.pipe = pid, pipe
        self.returncode: int | None = None

    def tell(self, given: dict[str, Any]) -> None:
        """Tell it what it is to be."""
        self.pipe.send_bytes(json.dumps(given).encode())
        self.pipe.close()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._waited(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        code = self._waited(0)
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _waited(self, options: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Forked(LocalProvisioner):
    """Gives a kernel the process that waits for one, where there is one; else, and for a second kernel, a new process.

    ``waiting`` is set by ``preloaded``, once in a step's process.
    """

    waiting: ClassVar[Child | None] = None

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        """Start the kernel with the arguments of ``cmd``, which is ``python -m unicomp_lib.study.launch ARGUMENTS``."""
        child, Forked.waiting = Forked.waiting, None
        if child is None or child.poll() is not None:
            return await super().launch_kernel(cmd, **options)
        env = {**options["env"], "JPY_PARENT_PID": str(os.getpid())}  # as jupyter_client's launcher does
        child.tell({"arguments": cmd[3:], "env": env, "cwd": str(options.get("cwd") or os.getcwd())})
        self.process = child  # type: ignore[assignment]
        self.pid = self.pgid = child.pid  # it leads a session of its own
        self.cwd = options.get("cwd")
        return self.connection_info


# As an installed package's entry point would be found: the study is not installed, it runs from its checkout.
KernelProvisionerFactory.provisioners[NAME] = EntryPoint(
    NAME, f"{__name__}:{Forked.__name__}", KernelProvisionerFactory.GROUP_NAME
)
