"""Joins the processes of a job, before any of them uses its devices."""

import argparse
import atexit
import errno
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from netzoo.errors import UserError, note
from netzoo.last_words import witness

# JAX's default is 100. A C++ thread sends heartbeats even while Python, a compilation or a
# checkpoint keeps the process busy, so a process without heartbeats is dead or disconnected.
HEARTBEAT_TIMEOUT_SECONDS = 30
# Seconds that a finished or failed process waits for the others; JAX's default is 300.
SHUTDOWN_TIMEOUT_SECONDS = 60
# Seconds that a process waits for the others to start, and seconds between its notices.
JOIN_TIMEOUT_SECONDS, SAY_EVERY_SECONDS = 300, 30
# Seconds that process 0 waits for its own name in a cluster.
RESOLVE_SECONDS = 30

# JAX reads this variable too. Set it where the machine of process 0 cannot listen at HOST.
BIND_VARIABLE = "JAX_COORDINATOR_BIND_ADDRESS"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `join` to a parser."""
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--distributed",
        action="store_true",
        help="join the processes that Cloud TPU, Slurm or Kubernetes started",
    )
    group.add_argument("--coordinator", help="HOST:PORT of process 0, instead of --distributed")
    group.add_argument("--processes", type=int, help="with --coordinator: number of processes")
    group.add_argument(
        "--process", type=int, help="with --coordinator: number of this process, from 0"
    )


def join(options: argparse.Namespace) -> None:
    """Connect to the other processes of the job, if the options ask for it.

    Raises:
      UserError: The options are inconsistent, the number of this process is unknown, or the others
        do not join in time.
    """
    names = ("coordinator", "processes", "process")
    coordinator, count, index = given = [getattr(options, name) for name in names]
    missing = [f"--{name}" for name, value in zip(names, given, strict=True) if value is None]
    if 0 < len(missing) < len(names):
        raise UserError(
            f"{' and '.join(missing)} missing; pass all of --coordinator HOST:PORT --processes N "
            "--process I, or --distributed alone"
        )
    port = (re.fullmatch(r".+:(\d{1,5})", coordinator or "") or (0, 0))[1]
    if not missing and not (0 <= index < count and 0 < int(port) < 65536):
        raise UserError(
            f"--coordinator {coordinator} --processes {count} --process {index}; expected "
            "HOST:PORT of process 0, PORT from 1 to 65535, and --process from 0 to one less than "
            "--processes"
        )
    if missing and not options.distributed:
        return
    bind = os.environ.get(BIND_VARIABLE) or coordinator
    if index == 0:
        _check_address(bind)
    _connect(coordinator, count, index, bind)
    import jax

    _explain_abort()
    if jax.process_index() and sys.stdout:
        # All processes would print the same lines, so only process 0 does. Errors stay visible.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_address(address: str) -> None:
    """Check that this process can listen at HOST:PORT; JAX would crash if it cannot.

    Without this check, JAX could share the port with another job: gRPC sets SO_REUSEPORT.

    Raises:
      UserError: HOST is unknown or belongs to another machine, or the port is in use.
    """
    port = address.rpartition(":")[2]
    try:
        places = _resolve(address)
        errors = [error for place in places if (error := _bind_error(*place))]
        # One usable address is enough: `localhost` may also have an IPv6 address on a machine
        # without IPv6.
        in_use = [error for error in errors if error.errno == errno.EADDRINUSE]
        if in_use or len(errors) == len(places):
            raise (in_use or errors)[0]
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen at {address}: {error.strerror}; expected a free port and "
            "an address of this machine. If the other processes reach this machine at another "
            f"address, set {BIND_VARIABLE}=0.0.0.0:{port}, which listens at all addresses"
        ) from None


def _bind_error(family: int, kind: int, _protocol: int, _name: str, place: Any) -> OSError | None:
    """Return why this process cannot listen at an address of `socket.getaddrinfo`, or None."""
    try:
        with socket.socket(family, kind) as server:
            # As servers do, ignore connections that were closed in the last minute (TIME_WAIT).
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(place)
    except OSError as error:
        return error
    return None


def _resolve(address: str) -> list[Any]:
    """Return `socket.getaddrinfo` of HOST:PORT; a pod's own name may take a moment to appear."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + RESOLVE_SECONDS
    while True:
        try:
            return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except socket.gaierror:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _connect(coordinator: str | None, count: int | None, index: int | None, bind: str) -> None:
    """Wait for all processes in another thread, because a call of JAX cannot be interrupted."""
    import jax

    failed: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                coordinator,
                count,
                index,
                coordinator_bind_address=bind,
                # At its own limit, JAX aborts with pages of output.
                initialization_timeout=2 * JOIN_TIMEOUT_SECONDS,
                heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_TIMEOUT_SECONDS,
            )
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    began = said = time.monotonic()
    try:
        while thread.is_alive():
            thread.join(0.2)
            now = time.monotonic()
            if now - began > JOIN_TIMEOUT_SECONDS:
                raise UserError(
                    f"{_waiting(coordinator, count, index)} after {JOIN_TIMEOUT_SECONDS} s. Start "
                    "all processes, each with its number, on machines that can connect to the "
                    "coordinator"
                )
            if now - said > SAY_EVERY_SECONDS:
                said = now
                note(f"{_waiting(coordinator, count, index)} after {now - began:.0f} s; waiting")
    except BaseException as error:
        # Otherwise C++ threads print messages about the end of the service.
        status = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
        atexit.register(os._exit, status)
        raise
    if failed:
        raise UserError(
            f"this process found no others: {failed[0]}\nOutside Cloud TPU, Slurm and Kubernetes "
            "pass --coordinator HOST:PORT --processes N --process I"
        ) from None


def _waiting(coordinator: str | None, count: int | None, index: int | None) -> str:
    """Return which processes have not joined, as far as this process knows."""
    if coordinator is None:
        return "the other processes of the job have not joined"
    host, _, port = coordinator.rpartition(":")
    if index == 0:
        come = _connections(int(port))
        return f"{come or 'not all'} of {count} processes have joined at {coordinator}"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        return f"process 0 does not answer at {coordinator} ({error.strerror or error})"
    return f"process 0 answers at {coordinator}, but not all of {count} processes have joined"


def _connections(port: int) -> int | None:
    """Return the number of connections to a port of this machine, None if unknown."""
    tables = [path for name in ("tcp", "tcp6") if (path := Path("/proc/net", name)).exists()]
    rows = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    established = [row[1] for row in rows if row[3] == "01"]
    return sum(place.endswith(f":{port:04X}") for place in established) or None


def _explain_abort() -> None:
    """Print a message if this process aborts without one.

    When another process dies, XLA aborts this one from a C++ thread, without running Python.
    """
    import jax

    message = (
        "error: this process was aborted, most likely because another process of the job died; a "
        "message of XLA above may name it. The same command on all machines continues from the "
        "newest checkpoint."
    )
    shell = witness(message)

    def dismiss():
        jax.distributed.shutdown()  # waits for the others, and aborts here if one is missing
        if not hasattr(sys, "last_value"):  # set by an uncaught exception
            shell.communicate(b"\n")

    atexit.register(dismiss)
