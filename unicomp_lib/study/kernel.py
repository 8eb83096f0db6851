"""A notebook's kernel: this Python, whatever kernels the user has; it ends with us, and it is known how it ended."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from unicomp_lib.study import provisioner, surroundings


class Kernel(AsyncKernelManager):
    """The kernel of a step.

    ``ended`` is the exit code of the last that ended by itself; negative, a signal. ``facts`` are what the last
    said of itself: see ``launch.facts``.
    """

    ended: int | None = None
    facts: dict[str, Any] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.transport_encryption = "required"
        # Of this kernel alone: its profile, the file that tells of its ports and keys, and its facts.
        self._private = tempfile.TemporaryDirectory(prefix="unicomp-kernel-")
        self.connection_file = str(Path(self._private.name) / "connection.json")

    @property
    def kernel_spec(self) -> KernelSpec:
        """Not the one of that name which Jupyter's folders hold: it may be of another Python."""
        private = Path(self._private.name)
        command = [sys.executable, "-m", "unicomp_lib.study.launch", "-f", "{connection_file}"]
        own = ["--parent", str(os.getpid()), "--facts", str(private / "facts.json"), f"--ipython-dir={private}"]
        about = {
            "supported_encryption": ["curve"], "kernel_provisioner": {"provisioner_name": provisioner.NAME}
        }  # fmt: skip
        return KernelSpec(argv=[*command, *own], display_name="Python 3", language="python", metadata=about)

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start it as jupyter_client does, with the variables of a step."""
        Kernel.ended = Kernel.facts = None
        await self._async_start_kernel(**options, env=surroundings.of_step(os.environ))

    async def is_alive(self) -> bool:  # type: ignore[override]
        """Whether its process runs."""
        alive = await self._async_is_alive()
        self._note()
        process = getattr(self.provisioner, "process", None)
        if not alive and process is not None:
            Kernel.ended = process.poll()
        return alive

    def cleanup_connection_file(self) -> None:
        """Keep its facts, and remove what was its own."""
        super().cleanup_connection_file()
        self._note()
        self._private.cleanup()

    def _note(self) -> None:
        """Read its facts as soon as they are there: others may tidy folders of temporary files."""
        path = Path(self._private.name) / "facts.json"
        if Kernel.facts is None and path.is_file():
            Kernel.facts = json.loads(path.read_text(encoding="utf-8"))
