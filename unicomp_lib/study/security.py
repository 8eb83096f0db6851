"""Who may talk to the processes of a run: those that hold the key made for it.

Dask's processes run whatever code they are sent, so whoever may connect to one may run code as its user.
"""

import ipaddress
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Security

# Dask's own names for the files that a client of a scheduler with TLS needs.
TLS = "DASK_DISTRIBUTED__COMM__TLS__"
CLIENT = (f"{TLS}CA_FILE", f"{TLS}CLIENT__CERT", f"{TLS}CLIENT__KEY")


def temporary() -> "Security":
    """A key and a certificate for one run on this machine, in memory alone; workers are handed them by a pipe.

    A ``RuntimeError`` where the environment is older than this and lacks the package that makes them.
    """
    from distributed import Security

    try:
        return Security.temporary()
    except ImportError as error:
        raise RuntimeError(
            "the package cryptography is missing, without which other users could run code as you; install what "
            "requirements.lock lists, or remove .nox/unicomp and let nox make it anew"
        ) from error


@contextmanager
def stored(folder: Path) -> "Iterator[Security]":
    """A key and a certificate for one run, as files that jobs on other machines read.

    They are in a folder of their own within ``folder`` that only the user can read, and go with the run. The
    file system must keep other users out as this machine does.
    """
    from distributed import Security

    made: Any = temporary()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keys-", dir=folder) as private:  # mode 0700
        names = {}
        for part, text in (("key", made.tls_worker_key), ("cert", made.tls_worker_cert)):
            names[part] = str(Path(private) / f"{part}.pem")
            Path(names[part]).touch(mode=0o600)
            Path(names[part]).write_text(text, encoding="ascii")
        roles = {
            f"tls_{role}_{part}": name for part, name in names.items() for role in ("client", "scheduler", "worker")
        }
        yield Security(require_encryption=True, tls_ca_file=names["cert"], **roles)


def connect(address: str) -> "Client":
    """A client of a running scheduler; at an address other than ``tls://`` with a warning. Raises as ``check`` does."""
    client = _client(address)
    if text := warning(address):
        print(text, file=sys.stderr, flush=True)
    return client


def check(address: str) -> None:
    """Raise a ``ConnectionError`` where no scheduler answers at an address, or none that takes these certificates.

    For ``tls://`` the environment names them, as Dask's configuration wants them; see ``CLIENT``.
    """
    _client(address).close()


def _client(address: str) -> "Client":
    from distributed import Client

    try:
        return Client(address, timeout=30)
    except TypeError as error:
        raise ConnectionError(
            f"{address!r} needs certificates; name their files in {', '.join(CLIENT[:-1])} and {CLIENT[-1]}"
        ) from error
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} ({error}); give an address such as tls://host:8786, "
            "or leave --scheduler out to use this machine"
        ) from error


def warning(address: str) -> str:
    """What is to be said of the address of a scheduler that takes any client; empty for one that does not."""
    scheme, _, place = address.rpartition("://")
    if scheme == "tls":
        return ""
    who = "other users of this machine" if _is_loopback(place.rpartition(":")[0].strip("[]")) else "whoever reaches it"
    return (
        f"warning: the scheduler at {address} neither encrypts nor authenticates: {who} can run code as you; start it "
        "with TLS and give tls://, see SECURITY.md"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
