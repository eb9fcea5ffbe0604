"""The distribution: every folder listed, data files shipped, the wheel works from another place."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import weft

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"weft": ROOT / "sw", "weft.hw": ROOT / "hw", "weft.sim": ROOT / "sim"}


def packages_in_the_tree():
    """Dotted names of all folders that hold Python files."""
    found = set()
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            inside = path.parent.relative_to(folder).parts
            found.add(".".join([package, *inside]))
    return found


def test_every_folder_with_python_files_is_listed():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_in_the_tree()
    for name in packages_in_the_tree():
        top = max((package for package in FOLDERS if f"{name}.".startswith(f"{package}.")), key=len)
        inside = name.removeprefix(top).strip(".")
        assert FOLDERS[top].joinpath(*filter(None, inside.split(".")), "__init__.py").is_file(), name


def test_no_module_of_the_package_shares_a_public_name():
    modules = {path.stem for path in FOLDERS["weft"].iterdir()}
    assert modules.isdisjoint(set(weft.__all__))


def test_versions_agree():
    assert weft.__version__ == PROJECT["project"]["version"]
    assert f"## {weft.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_satisfy_the_ranges():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    for requirement in map(Requirement, sum(groups, [])):
        if requirement.name == "weft":
            continue
        assert canonicalize_name(requirement.name) in pins, f"{requirement.name} has no pin"
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement.name


@pytest.mark.parametrize("name", ["setup", "test", "demo", "accuracy", "train_digits", "train_shakespeare", "train_sst2",
                                  "compare_quantization"])
def test_scripts_are_executable_and_parse(name):
    path = ROOT / "scripts" / name
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


def test_setup_names_what_is_missing_and_the_line_that_installs_it(tmp_path):
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}" if Path(f"/usr/bin/{tool}").exists() else f"/bin/{tool}")
    done = subprocess.run([tmp_path / "bash", ROOT / "scripts" / "setup"], capture_output=True, text=True,
                          env={"PATH": str(tmp_path), "WEFT_VENV": str(tmp_path / "venv")})
    assert done.returncode == 2
    for line in ("apt install python3", "apt install g++", "apt install make", "apt install perl"):
        assert line in done.stderr
    assert not (tmp_path / "venv").exists()


# Stands for Python in scripts/setup: notes what it is asked for, makes a .venv that does the same, installs nothing.
FAKE_PYTHON = """#!/bin/bash
case "$1 $2" in
"-m venv") echo venv >>calls; mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python";;
"-m pip") echo pip >>calls; if [ -e interrupt ]; then kill -KILL $PPID; fi; if [ -e refuse ]; then exit 1; fi;;
"scripts/torch_source.py "*) ;;
*) exec %s "$@";;
esac
"""


def test_setup_is_repeated_until_it_has_finished_once(tmp_path):
    (tmp_path / "scripts").mkdir()
    names = ["pyproject.toml", "constraints.txt", "scripts/setup", "scripts/torch_source.py",
             "scripts/model-requirements.txt"]
    for name in names:
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON % sys.executable)
    python.chmod(0o755)

    def setup(*files):
        """(exit status, what Python was asked for) of a set-up while these files are there."""
        for name in files:
            (tmp_path / name).touch()
        (tmp_path / "calls").write_text("")
        done = subprocess.run([tmp_path / "scripts" / "setup"], cwd=tmp_path, capture_output=True, text=True,
                              env=os.environ | {"PYTHON": str(python), "WEFT_VENV": ".venv"})
        for name in files:
            (tmp_path / name).unlink()
        return done.returncode, (tmp_path / "calls").read_text().split()

    assert setup("interrupt") == (-9, ["venv", "pip"])
    assert setup("refuse") == (1, ["venv", "pip"])
    status, calls = setup()
    assert status == 0 and calls[:2] == ["venv", "pip"] and set(calls[1:]) == {"pip"}
    assert setup() == (0, [])
    # Other pins bring it up to date, and do not count as done before they are.
    with (tmp_path / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert setup("refuse") == (1, ["pip"])
    assert setup() == (0, calls[1:]) and setup() == (0, [])


def test_the_wheel_holds_the_packages_and_works_from_another_folder(tmp_path):
    # A copy, since a build writes into its source folder.
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("sw", "hw", "sim"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                    "--disable-pip-version-check", "--wheel-dir", tmp_path, source],
                   check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("weft-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md":
                inside = "/".join([*package.split("."), *path.relative_to(folder).parts])
                assert inside in names, f"{inside} is not in the wheel"
    # The wheel's copy comes first on the path, and an editable installation must not serve in its place.
    code = ("import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
            "import weft.cli, weft.text\n"
            "assert weft.__file__.startswith(sys.argv[1]), weft.__file__\n"
            "assert len(weft.text.calibration_sentences()) == 64\n"
            "weft.cli.main(sys.argv[2:])")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site")}


    def weft_command(*arguments):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "site"), *arguments], cwd=tmp_path, env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    weft_command("generate", "--config", "tiny", "--out", "rtl")
    assert (tmp_path / "rtl" / "weft.v").stat().st_size > 0
    said = weft_command("regress", "--config", "tiny", "--verilog", "rtl", "--select", "identity_registers")
    assert said.splitlines()[0].endswith(".identity_registers") and "1 regressions passed on 4x4" in said
