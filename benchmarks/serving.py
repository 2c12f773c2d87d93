"""Load test of `featalign serve`, on loopback: speed against the model's own, then good and malformed requests mixed.

    python benchmarks/serving.py --run RUN --images FOLDER --out serving

writes serving.json and serving.md. Exit code 1 if a request was answered wrongly. `--only speed` or `--only mixed` does
one half, for a machine that is not quiet for longer.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from malformed import attacks, saved
from PIL import Image

import featalign

MAX_BODY = 4 * 2**20
UPLOAD_TIMEOUT = 8
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Server:
    """`featalign serve` in a process of its own."""

    def __init__(self, run: Path, batch: int) -> None:
        self.log = Path(tempfile.mkdtemp()) / "log"
        limits = {"max_body": MAX_BODY, "upload_timeout": UPLOAD_TIMEOUT, "batch": batch, "timeout": 120}
        command = [sys.executable, "-m", "featalign", "serve", str(run), "--port", "0", "--device", "cpu"]
        command += [part for name, value in limits.items() for part in ("--set", f"{name}={value}")]
        self.process = subprocess.Popen(command, stderr=self.log.open("w"))
        self.address = self._wait()

    def _wait(self) -> str:
        while self.process.poll() is None:
            time.sleep(0.2)
            found = re.search(r"http://127.0.0.1:\d+", self.log.read_text())
            try:
                if found and httpx.get(f"{found[0]}/ready").is_success:
                    return found[0]
            except httpx.TransportError:
                continue
        raise SystemExit(self.log.read_text())

    def metric(self, name: str) -> float:
        """What the service reports of its process."""
        found = re.search(rf"^{name} (\S+)", httpx.get(f"{self.address}/metrics", timeout=60).text, re.MULTILINE)
        return float(found[1]) if found else float("nan")

    def memory(self) -> float:
        """MiB of resident memory."""
        return self.metric("process_resident_memory_bytes") / 2**20

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def own_speed(predictor: featalign.Predictor, photos: list[Pixels], count: int) -> tuple[float, float]:
    """Images a second, and processor seconds for an image, of the predictor in a loop: no file, no network."""
    start, worked = time.perf_counter(), time.process_time()
    for photo in itertools.islice(itertools.cycle(photos), count):
        predictor(photo)
    return count / (time.perf_counter() - start), (time.process_time() - worked) / count


async def speed(address: str, files: list[bytes], clients: int, count: int) -> dict[str, float]:
    """Images a second and latencies in ms of ``clients`` that each send one request after the other."""
    todo, times = itertools.islice(itertools.cycle(files), count), []

    async def client(session: httpx.AsyncClient) -> None:
        for file in todo:
            start = time.perf_counter()
            (await session.post("/v1/segment", files={"image": file})).raise_for_status()
            times.append(1000 * (time.perf_counter() - start))

    async with httpx.AsyncClient(base_url=address, timeout=300) as session:
        start = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        seconds = time.perf_counter() - start
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"images/s": count / seconds, "p50 ms": cuts[49], "p95 ms": cuts[94], "p99 ms": cuts[98]}


def measure(server: Server, predictor: featalign.Predictor, photos: list[Pixels], count: int) -> list[dict[str, Any]]:
    """Each number of clients between two measurements of the model's own speed, since machines' speed drifts.

    Overhead in time is what a user feels; in processor time, what other work on the machine does not change.
    """
    files, rows = [saved(Image.fromarray(photo), "JPEG") for photo in photos], []
    predictor(photos[0])
    before = own_speed(predictor, photos, count)
    for clients in (1, 8, 32):
        worked, sent = server.metric("process_cpu_seconds_total"), max(count, 2 * clients)
        found = asyncio.run(speed(server.address, files, clients, sent))
        worked = (server.metric("process_cpu_seconds_total") - worked) / sent
        after = own_speed(predictor, photos, count)
        own, alone = (statistics.mean(pair) for pair in zip(before, after, strict=True))
        overheads = {"overhead, time": own / found["images/s"] - 1, "overhead, processor": worked / alone - 1}
        rows.append({"clients": clients, "model's own images/s": own, **found, **overheads})
        before = after
    return rows


class Storm:
    """Good requests and attacks in random order; every answer is judged."""

    def __init__(self, server: Server, predictor: featalign.Predictor, photos: list[Pixels]) -> None:
        self.server = server
        self.good = [(saved(Image.fromarray(photo), "PNG"), predictor(photo).labels) for photo in photos]
        self.attacks = attacks(photos[0], max_body=MAX_BODY)
        self.upright = predictor(np.ascontiguousarray(np.rot90(photos[0], -1))).labels
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()

    async def run(self, requests: int, clients: int) -> dict[str, Any]:
        names = [name for name, _ in zip(itertools.cycle(self.attacks), range(requests // 10), strict=False)]
        jobs = [*names, *range(requests - len(names))]
        random.Random(0).shuffle(jobs)
        memory, todo = [self.server.memory()], iter(jobs)

        async def client(session: httpx.AsyncClient) -> None:
            for done, job in enumerate(todo):
                await (self.attack(session, job) if isinstance(job, str) else self.ask(session, job))
                if done % 10 == 0:
                    memory.append(await asyncio.to_thread(self.server.memory))

        start = time.perf_counter()
        async with httpx.AsyncClient(base_url=self.server.address, timeout=300) as session:
            await asyncio.gather(*(client(session) for _ in range(clients)))
        tenths = np.array_split(memory[1:], 10)
        return {
            "requests": requests,
            "malformed": len(names),
            "seconds": time.perf_counter() - start,
            "answers": dict(sorted(self.seen.items())),
            "wrong": self.wrong,
            "MiB before": memory[0],
            **{f"MiB, tenth {i}": float(np.median(part)) for i, part in enumerate(tenths, 1)},
            "MiB, most": max(memory),
        }

    async def ask(self, session: httpx.AsyncClient, index: int) -> None:
        file, labels = self.good[index % len(self.good)]
        await self.judge("good", 200, labels, await session.post("/v1/segment", files={"image": file}))

    async def attack(self, session: httpx.AsyncClient, name: str) -> None:
        attack = self.attacks[name]
        if attack.slow:
            response = await _send_slowly(self.server.address, attack.image)
        else:
            response = await session.post("/v1/segment", params=attack.parameters, files={"image": attack.image})
        await self.judge(name, attack.status, self.upright, response)

    async def judge(self, name: str, status: int, labels: Pixels, response: httpx.Response) -> None:
        self.seen[f"{name}: {response.status_code}"] += 1
        if response.status_code != status:
            self.wrong.append(f"{name}: {response.status_code} instead of {status}: {response.text[:200]}")
        elif status == 200:
            found = np.asarray(Image.open(io.BytesIO(response.content)))
            if found.shape != labels.shape or (found == labels).mean() < 0.999:  # sums in batches round differently
                self.wrong.append(f"{name}: other labels")
        elif not response.json()["detail"]:
            self.wrong.append(f"{name}: no reason")


async def _send_slowly(address: str, image: bytes) -> httpx.Response:
    """A byte every half second, while listening, until the service closes the connection."""
    reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
    writer.write(f"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n".encode())
    sending = asyncio.create_task(_dribble(writer, image))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    sending.cancel()
    writer.close()
    return httpx.Response(int(head.split()[1]), content=body)


async def _dribble(writer: asyncio.StreamWriter, image: bytes) -> None:
    for byte in image:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.5)


def read(folder: Path, size: tuple[int, int], count: int) -> list[Pixels]:
    """Images of a folder, resized to (height, width)."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))[:count]
    return [np.array(Image.open(path).convert("RGB").resize(size[::-1])) for path in paths]


def markdown(result: dict[str, Any]) -> str:
    """The halves that were run, as tables."""
    parts = []
    if rows := result.get("speed"):
        parts.append([tuple(rows[0]), *([_cell(name, value) for name, value in row.items()] for row in rows)])
    if mixed := result.get("mixed"):
        counts = [(name, value) for name, value in mixed.items() if isinstance(value, int | float)]
        for head, lines in (("mixed requests", counts), ("answer", mixed["answers"].items())):
            parts.append([(head, ""), *([name, _cell(name, value)] for name, value in lines)])
    tables = [[part[0], ["---"] * len(part[0]), *part[1:]] for part in parts]
    return "\n\n".join("\n".join(f"| {' | '.join(line)} |" for line in table) for table in tables) + "\n"


def _cell(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name.startswith("overhead") else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("serving"))
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), help="height, width of the images")
    parser.add_argument("--count", type=int, default=60, help="images of each measurement of speed")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16, help="of the mixed requests")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--only", choices=("speed", "mixed"))
    asked = parser.parse_args()
    predictor = featalign.Predictor(featalign.load(asked.run), device="cpu")
    server = Server(asked.run, asked.batch)
    result: dict[str, Any] = {"image": list(asked.size), "threads": os.environ.get("OMP_NUM_THREADS", "default")}
    try:
        if asked.only != "mixed":
            result["speed"] = measure(server, predictor, read(asked.images, tuple(asked.size), 16), asked.count)
        if asked.only != "speed":
            small = read(asked.images, (asked.size[0] // 2, asked.size[1] // 2), 16)
            result["mixed"] = asyncio.run(Storm(server, predictor, small).run(asked.requests, asked.clients))
    finally:
        server.stop()
    asked.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    asked.out.with_suffix(".md").write_text(markdown(result))
    wrong = result.get("mixed", {}).get("wrong", [])
    print(markdown(result), *wrong[:10], sep="\n")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
