"""What is written reaches terminals and files that know few characters, or few columns."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from rich.console import Console
from small_runs import SMALL_RUN
from synthetic_run import SyntheticRun
from typer.testing import CliRunner

import ase_hal.free_energy_run.display as free_energy_display
import ase_hal.report
from ase_hal.cli import app
from ase_hal.command_line import log_to
from ase_hal.display import RunDisplay
from ase_hal.journal import Log
from ase_hal.terminal import plain, use_plain_characters

# Python then takes what the locale says for texts, and not UTF-8.
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX", "LANG": "C"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eV/Å, ä, e\u0301", "eV/A, a, e"),
        ("(10 meV)², 10⁻³ m³, H₂O", "(10 meV)^2, 10^-3 m^3, H2O"),
        ("σ, Δ, µm, Ω", "sigma, Delta, um, Omega"),
        ("┌─┬━╸│┃╷", "+-+--|||"),
        ("⠋ █ ▒", "* # #"),
        ("“a” – b…", '"a" - b...'),
        ("± × · → ≤ °", "+/- x . -> <= deg"),
        ("ø ł ß Æ", "o l ss AE"),
        ("日本 \U0001f600", "?? ?"),
        ("plain \x1b[1m\n", "plain \x1b[1m\n"),
        # A file name of UTF-8 that was read in an ASCII locale, and what never was text.
        ("x\udcc3\udc85y \udcff \ud800", "xAy ? ?"),
    ],
)
def test_plain_text(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_every_character_has_a_replacement() -> None:
    for code in [*range(0x10000), 0x1D6C2, sys.maxunicode]:
        text = plain(chr(code))
        assert text.isascii()
        assert len(text) < 30


@contextmanager
def written_in(encoding: str) -> Iterator[io.BytesIO]:
    """Standard output and error are a file of some encoding."""
    content = io.BytesIO()
    out, err = (io.TextIOWrapper(content, encoding, write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        use_plain_characters()
        use_plain_characters()
        yield content


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"A a sigma -"),
        ("latin-1", b"\xc5 \xe4 sigma -"),
        ("cp437", b"\x8f \x84 \xe5 \xc4"),
        ("cp1252", b"\xc5 \xe4 sigma -"),
        ("utf-8", "Å ä σ ─".encode()),
    ],
)
def test_encodings_get_what_they_know(encoding: str, expected: bytes) -> None:
    with written_in(encoding) as content:
        print("Å ä σ ─")
        print("Å ä σ ─", file=sys.stderr)
        print("\udcff")
        assert content.getvalue() == 2 * (expected + b"\n") + b"?\n"


# --- displays ----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("width", [80, 60, 20])
def test_displays(encoding: str, terminal: bool, width: int, tmp_path: Path) -> None:
    with written_in(encoding) as content:
        show(Console(force_terminal=terminal, width=width), tmp_path)
        written = content.getvalue()
    assert ("eV/Å".encode("cp1252") if encoding == "cp1252" else b"eV/A") in written
    assert (b"\x1b[" in written) == terminal
    assert b"?" not in re.sub(rb"\x1b\[\?25", b"", written), "all had a replacement"


def show(console: Console, directory: Path) -> None:
    """Both kinds of displays."""
    SyntheticRun(directory, rng=np.random.default_rng(0)).write(3, finished="converged")
    log_to(console)
    package = logging.getLogger("ase_hal")
    try:
        with RunDisplay(console, directory, max_labels=30) as display:
            for event in Log.read(directory / "log.jsonl"):
                display(event)
            package.warning("a warning of 0.1 Å")
        display.close()
    finally:
        del package.handlers[-1]
    with free_energy_display.RunDisplay(console, directory) as other:
        failed = {"round": 0, "criterion": "wells", "reason": "no η in (10 meV)²"}
        other({"event": "proposed", "of_test": False, "round": 0, "n_proposed": 100})
        other({"event": "failed_point", "of_test": False, **failed})


# --- commands ----------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner(charset="ascii").invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert result.stdout_bytes.isascii()
    assert result.stderr_bytes.isascii()
    return result.output


def test_commands_of_a_model(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = []
    for a in np.linspace(3.9, 4.2, 6):
        atoms = bulk("Al", a=a, cubic=True)
        atoms.rattle(0.05, seed=int(1000 * a))
        atoms.calc = EMT()
        atoms.get_forces()
        structures.append(atoms)
    ase.io.write("Ångström.xyz", structures)
    output = call("fit", "Ångström.xyz", "--basis", "small", "--rcut", 4, "-o", "Å.json")
    assert "eV/A" in output
    assert "A.json" in output
    assert "A.yace" in call("export", "Å.json")
    assert "to ae.xyz" in call("select", "Ångström.xyz", "Å.json", "-n", 2, "-o", "æ.xyz")
    monkeypatch.setattr(ase_hal.report, "write_report", lambda directory: directory / "index.html")
    assert call("report", "Å") == "written: A/index.html\n"
    output = call("export", "ß.json", code=1)
    assert output.startswith("error: ")
    assert "ss.json" in output


def test_run_files(here: Path) -> None:
    Path("run.yaml").write_text(yaml.safe_dump(SMALL_RUN, allow_unicode=True), encoding="utf-8")
    assert "run.yaml is all right" in call("run", "run.yaml", "--check")
    wrong: dict[str, Any] = SMALL_RUN | {"Ångström": 1}
    Path("run.yaml").write_text(yaml.safe_dump(wrong, allow_unicode=True), encoding="utf-8")
    assert "Angstrom: unknown key" in call("run", "run.yaml", code=2)
    assert "free-energy run" in call("free-energy", "run", "--help")
    assert " A." in call("fit", "--help")
    assert "A" in call("Å", code=2)


@pytest.mark.parametrize("variables", [ASCII, {"PYTHONIOENCODING": "ascii"}])
def test_the_program(here: Path, variables: dict[str, str]) -> None:
    text = yaml.safe_dump(SMALL_RUN | {"basis": "preset of 5 Å"}, allow_unicode=True)
    Path("run.yaml").write_text(text, encoding="utf-8")
    program = "from ase_hal.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "run.yaml", "--check"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"5 A" in done.stderr
    assert done.stderr.isascii()
    assert b"Traceback" not in done.stderr
