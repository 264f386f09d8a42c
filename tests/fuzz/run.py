#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets with libFuzzer and prints what each one did.

usage: run.py [TARGET]...   (default: all)

FUZZ_SECONDS (60) is how long each one runs, FUZZ_JOBS (the number of CPUs) how many run at a time.
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
SECONDS = os.environ.get("FUZZ_SECONDS", "60")
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


def fuzz(target: str) -> tuple[int, list[Path]]:
    learnt, findings = BUILD / "learnt" / target, BUILD / "findings" / target
    log = BUILD / "logs" / f"{target}.log"
    for folder in (learnt, findings, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    known = set(findings.iterdir())
    command = [
        str(PROGRAMS / f"fuzz_{target}"), f"-max_total_time={SECONDS}", f"-max_len={LONGEST}",
        f"-dict={TOP}/tests/fuzz/{target}.dict", f"-artifact_prefix={findings}/", "-timeout=20",
        "-rss_limit_mb=2048", "-print_final_stats=1", str(learnt),
        str(PROGRAMS / "corpus" / target),
    ]
    with log.open("w") as output:
        code = subprocess.run(command, stdout=output, stderr=output, env=ENVIRONMENT).returncode
    found = sorted(set(findings.iterdir()) - known)
    executions = re.search(r"number_of_executed_units: (\d+)", log.read_text(errors="replace"))
    if code != 0 and not found:
        found = [log]
    return int(executions.group(1)) if executions else 0, found


def main() -> int:
    targets = sorted(path.stem for path in (TOP / "tests/fuzz").glob("*.dict"))
    chosen = sys.argv[1:] or targets
    if not set(chosen) <= set(targets):
        print(f"{__doc__}\ntargets: {' '.join(targets)}", file=sys.stderr)
        return 2
    build(chosen)
    bad = False
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for target, (executions, found) in zip(chosen, pool.map(fuzz, chosen)):
            print(f"{target}: {executions} executions, {len(found)} findings", flush=True)
            for path in found:
                print(f"    {path.relative_to(TOP)}")
            bad |= bool(found) or executions == 0
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
