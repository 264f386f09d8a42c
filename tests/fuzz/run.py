#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets with libFuzzer and prints what each one did.

usage: run.py [TARGET]...   (default: all)

FUZZ_SECONDS (60) is how much processor time each one gets, FUZZ_JOBS (the number of CPUs) how many
run at a time.
What they find lies in build-fuzz/findings, what they learnt in build-fuzz/learnt, their output in
build-fuzz/logs. Exits 1 when there is a finding or a target did not run.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = TOP / "build-fuzz"
PROGRAMS = BUILD / "tests/fuzz"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
JOBS = int(os.environ.get("FUZZ_JOBS", os.cpu_count() or 1))
LONGEST = 1 << 16  # bytes of one input
ENVIRONMENT = dict(
    os.environ,
    ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1",
    UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1",
)


def build(targets: list[str]) -> None:
    if not (BUILD / "build.ninja").exists():
        subprocess.run(
            ["meson", "setup", str(BUILD), "-Db_sanitize=address,undefined", "-Db_lundef=false",
             "-Dc_args=-fsanitize=fuzzer-no-link"],
            check=True, cwd=TOP, stdout=subprocess.DEVNULL, env={**os.environ, "CC": "clang"},
        )
    programs = [f"tests/fuzz/fuzz_{target}" for target in targets]
    subprocess.run(
        ["ninja", "--quiet", "-C", str(BUILD), "tests/fuzz/corpus", *programs], check=True, cwd=TOP
    )


def run_once(command: list[str], seconds: float, log: Path) -> tuple[int, float, int]:
    """Exit code, processor time in seconds, executions."""
    with log.open("a") as output:
        start = output.tell()
        limit = f"-max_total_time={max(1, round(seconds))}"
        process = subprocess.Popen([*command[:1], limit, *command[1:]], stdout=output,
                                   stderr=output, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_bytes()[start:].decode(errors="replace")
    executions = re.search(r"number_of_executed_units: (\d+)", text)
    return (process.returncode, usage.ru_utime + usage.ru_stime,
            int(executions.group(1)) if executions else 0)


def fuzz(target: str) -> tuple[int, float, list[Path]]:
    learnt, findings = BUILD / "learnt" / target, BUILD / "findings" / target
    log = BUILD / "logs" / f"{target}.log"
    for folder in (learnt, findings, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    known = set(findings.iterdir())
    command = [
        str(PROGRAMS / f"fuzz_{target}"), f"-max_len={LONGEST}",
        f"-dict={TOP}/tests/fuzz/{target}.dict", f"-artifact_prefix={findings}/", "-timeout=20",
        "-rss_limit_mb=2048", "-print_final_stats=1", str(learnt),
        str(PROGRAMS / "corpus" / target),
    ]
    code, used, total = 0, 0.0, 0
    # libFuzzer's limit is of wall time, of which a busy machine gives only a part.
    while code == 0 and used + 1 <= SECONDS:
        code, seconds, executions = run_once(command, SECONDS - used, log)
        used += seconds
        total += executions
        if executions == 0:
            break
    found = sorted(set(findings.iterdir()) - known)
    if code != 0 and not found:
        found = [log]
    return total, used, found


def main() -> int:
    targets = sorted(path.stem for path in (TOP / "tests/fuzz").glob("*.dict"))
    chosen = sys.argv[1:] or targets
    if not set(chosen) <= set(targets):
        print(f"{__doc__}\ntargets: {' '.join(targets)}", file=sys.stderr)
        return 2
    build(chosen)
    bad = False
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for target, (executions, used, found) in zip(chosen, pool.map(fuzz, chosen)):
            print(f"{target}: {executions} executions in {used:.0f} s of processor time, "
                  f"{len(found)} findings", flush=True)
            for path in found:
                print(f"    {path.relative_to(TOP)}")
            bad |= bool(found) or executions == 0
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
