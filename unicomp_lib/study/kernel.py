"""A notebook's kernel: it ends with the process that started it, and it is known how it ended."""

import os
from typing import Any

from jupyter_client.manager import AsyncKernelManager

# Run by the kernel before any cell.
FIRST = "__import__('unicomp_lib.hardware').hardware.end_with_parent({})"


class Kernel(AsyncKernelManager):
    """The kernel of a step. ``ended`` is the exit code of the last that ended by itself; negative, a signal."""

    ended: int | None = None

    async def start_kernel(  # type: ignore[override]
        self, *, extra_arguments: list[str], **options: Any
    ) -> None:
        """Start it as jupyter_client does."""
        Kernel.ended = None
        first = f"--IPKernelApp.exec_lines={FIRST.format(os.getpid())}"
        await self._async_start_kernel(extra_arguments=[*extra_arguments, first], **options)

    async def is_alive(self) -> bool:  # type: ignore[override]
        """Whether its process runs."""
        alive = await self._async_is_alive()
        process = getattr(self.provisioner, "process", None)
        if not alive and process is not None:
            Kernel.ended = process.poll()
        return alive
