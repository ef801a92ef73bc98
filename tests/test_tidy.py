"""Style that matters is tested: sizes, purity, banned calls, packaging."""

import ast
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("node", "workloads", "simulator")
FILE_LINES_MAX = 320
FUNCTION_LINES_MAX = 70
PURE = (
    "node/types.py",
    "node/errors.py",
    "node/merkle.py",
    "node/identity.py",
    "node/exchange",
    "node/ledger",
    "node/state",
    "node/wire",
    "node/jobs/manifest.py",
    "node/jobs/encoding.py",
    "node/jobs/geometry.py",
    "node/jobs/manifest_values.py",
    "node/jobs/work.py",
    "node/membership/record.py",
    "node/membership/view.py",
    "node/memory/batch.py",
    "node/memory/bucket.py",
    "node/memory/chain.py",
    "node/memory/config.py",
    "node/memory/intake.py",
    "node/memory/memory_set.py",
    "node/memory/planning.py",
    "node/memory/segment.py",
)
IMPURE_MODULES = {"asyncio", "time", "datetime", "random", "secrets", "os", "threading", "socket"}
FLOW = ("node/jobs", "node/membership", "node/memory", "node/daemon.py")
EDGE_MODULES = {"hivemind", "grpc", "libp2p", "trio", "uvloop", "threading", "subprocess", "torch"}


def sources(*roots: str) -> Iterator[Path]:
    for name in roots:
        path = ROOT / name
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        yield from (f for f in files if "_pb2" not in f.name)


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_files_and_functions_stay_small() -> None:
    large = []
    for path in sources(*PACKAGES):
        text = path.read_text()
        if text.count("\n") > FILE_LINES_MAX and path.name != "convert.py":
            large.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    large.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert not large, large


def test_decisions_are_pure() -> None:
    found = {str(p.relative_to(ROOT)): imported(p) & IMPURE_MODULES for p in sources(*PURE)}
    assert not {name: bad for name, bad in found.items() if bad}
    for path in sources(*PURE):
        waits = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Await)]
        assert not waits, f"{path}: a pure file does not wait"


def test_flow_knows_no_library_of_the_edge() -> None:
    found = {str(p.relative_to(ROOT)): imported(p) & EDGE_MODULES for p in sources(*FLOW)}
    assert not {name: bad for name, bad in found.items() if bad}


def test_nothing_unpickles_or_evaluates() -> None:
    for path in sources(*PACKAGES):
        assert not imported(path) & {"pickle", "marshal", "shelve", "dill"}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"


def test_generated_code_is_fresh() -> None:
    pytest.importorskip("grpc_tools")
    scope: dict[str, object] = {"__name__": "fresh", "__file__": str(ROOT / "tests/x.py")}
    code = compile((ROOT / "tests" / "fresh_proto.py").read_text(), "fresh_proto.py", "exec")
    exec(code, scope)
    stale = scope["stale"]
    assert callable(stale)
    assert stale() == []


def test_no_other_distribution_installs_our_names() -> None:
    for distribution in importlib.metadata.distributions():
        if distribution.metadata["Name"] == "artel-node":
            continue
        for file in distribution.files or []:
            assert file.parts[0] not in PACKAGES, f"{distribution.metadata['Name']}: {file}"
