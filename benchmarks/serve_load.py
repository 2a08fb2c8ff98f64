"""The server under load: many clients at once, against the speed of the engine alone on the same texts.

    python benchmarks/serve_load.py --model MODEL --data_dir CORPORA
    python benchmarks/serve_load.py --model MODEL --data_dir sample --quick

MODEL is the --output_dir of a training. The texts are abstracts of NCBI Disease and BC5CDR. Each client sends a text,
waits for its entities and sends the next, over one connection. The engine annotates the same texts as a list, in a
process of its own, before and after; clients and server share the machine. Speed is sub-words of the texts a second.

Writes `serve_load.json` into --output_dir, prints a table, and last `ratio: <number>`: the server's speed over the
engine's.
"""

import argparse
import asyncio
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parents[1]))

from annotate_throughput import ROOT, run, write_texts


WARM_UP = 3.0  # seconds that are not counted
REQUEST = (
    b"POST /annotate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)


def measure_engine(options: argparse.Namespace) -> dict[str, Any]:
    """Annotate lists of texts for some seconds; return texts a second, and the sub-words of a text."""
    from annotate_measurements import count_subwords, load, read_texts

    from mtl_bioner.reporting.run_record import describe_machine

    ner, texts = load(options, options.dtype, overlaps="by_type"), read_texts(options)
    ner(texts[:50])
    number, start = 0, time.perf_counter()
    while time.perf_counter() - start < options.seconds:
        ner(texts)
        number += len(texts)
    speed = number / (time.perf_counter() - start)
    subwords = count_subwords(ner, texts) / len(texts)
    return {"texts_per_second": speed, "subwords_per_text": subwords, "machine": describe_machine()}


async def send_requests(
    address: str, bodies: Iterator[bytes], end: float, answers: list[tuple[float, float, str]]
) -> None:
    """Send requests one after the other until `end`; note time of the answer, seconds and status, or the error."""
    url, connection = urllib.parse.urlsplit(address), None
    while time.perf_counter() < end:
        start, status = time.perf_counter(), "200"
        try:
            reader, writer = connection = connection or await asyncio.open_connection(url.hostname, url.port)
            body = next(bodies)
            writer.write(REQUEST % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            answer = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            status = head[9:12].decode()
            if status == "200" and len(json.loads(answer)["documents"]) != 1:
                status = "incomplete"
        except (OSError, EOFError, ValueError, TypeError) as error:
            connection, status = None, type(error).__name__
        now = time.perf_counter()
        answers.append((now, now - start, status))


async def load_server(address: str, texts: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Let clients send requests for some seconds; return speed, errors and latencies in seconds."""
    bodies = itertools.cycle([json.dumps({"texts": [text]}).encode() for text in texts])
    begin, answers = time.perf_counter() + WARM_UP, []
    end = begin + seconds
    await asyncio.gather(*(send_requests(address, bodies, end, answers) for _ in range(clients)))
    statuses = Counter(status for _, _, status in answers)
    counted = [(now, latency) for now, latency, status in answers if begin < now <= end and status == "200"]
    latencies = statistics.quantiles([latency for _, latency in counted], n=100)
    return {
        "requests": len(answers),
        "statuses": dict(statuses),
        "errors": len(answers) - statuses["200"],
        "texts_per_second": len(counted) / seconds,
        "latency": {f"p{percent}": latencies[percent - 1] for percent in (50, 95, 99)},
    }


def measure_server(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the server, load it, and stop it."""
    lines = Path(arguments.texts).read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    command = [sys.executable, "-m", "mtl_bioner", "serve", arguments.model, "--port", "0", "--dtype", arguments.dtype]
    server = subprocess.Popen([*command, *arguments.server_options], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        address = re.search(r" at (http://[^ ,]+)", server.stderr.readline())[1]
        sys.stderr.write(f"measuring the server with {arguments.clients} clients\n")
        return asyncio.run(load_server(address, texts, arguments.clients, arguments.seconds))
    finally:
        server.terminate()
        server.communicate(timeout=60)


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure engine, server and engine again."""

    def engine() -> dict[str, Any]:
        sys.stderr.write("measuring the engine\n")
        options = {name: getattr(arguments, name) for name in ("model", "texts", "documents", "dtype")}
        options["seconds"] = arguments.seconds / 2
        return json.loads(run([sys.executable, __file__, "--worker", json.dumps(options)]).splitlines()[-1])

    engines = [engine()]
    report = {"clients": arguments.clients, "seconds": arguments.seconds, "dtype": arguments.dtype}
    report |= {"server": measure_server(arguments), "engine": [*engines, engine()]}
    speed = statistics.mean(one["texts_per_second"] for one in report["engine"])
    return report | {"ratio": report["server"]["texts_per_second"] / speed, "engine_texts_per_second": speed}


def format_report(report: dict[str, Any]) -> str:
    """Return the report as text."""
    server, subwords = report["server"], report["engine"][0]["subwords_per_text"]
    lines = [
        f"{name:12}{speed:10,.1f} texts/s {speed * subwords:12,.0f} sub-words/s"
        for name, speed in (("engine", report["engine_texts_per_second"]), ("server", server["texts_per_second"]))
    ]
    latency = ", ".join(f"{name} {1000 * seconds:,.0f} ms" for name, seconds in server["latency"].items())
    lines += [f"{report['clients']} clients for {report['seconds']:g} s: {server['requests']:,} requests, "
              f"{server['errors']} errors", f"latency: {latency}"]  # fmt: skip
    return "\n".join([*lines, f"ratio: {report['ratio']:.2f}"])


def main() -> int:
    """Measure, write and print; or measure the engine as a worker, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", help="--output_dir of a training")
    parser.add_argument("--data_dir", help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--clients", type=int, default=50, help="clients at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="seconds under load (default: 60; quick: 8)")
    parser.add_argument("--documents", type=int, default=400, help="different abstracts (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="data type of engine and server (default: %(default)s)")
    parser.add_argument("--output_dir", default="outputs/benchmarks", help="where the JSON goes")
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments, arguments.server_options = parser.parse_known_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(measure_engine(argparse.Namespace(**arguments.worker))) + "\n")
        return 0
    if not arguments.model or not arguments.data_dir:
        parser.error("give --model and --data_dir")
    arguments.model = str(Path(arguments.model).resolve())
    arguments.seconds = arguments.seconds or (8.0 if arguments.quick else 60.0)
    with tempfile.TemporaryDirectory() as folder:
        write_texts(arguments, Path(folder))
        report = measure_all(arguments)
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    (output / "serve_load.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(format_report(report) + "\n")
    return int(report["server"]["errors"] > 0)


if __name__ == "__main__":
    sys.exit(main())
