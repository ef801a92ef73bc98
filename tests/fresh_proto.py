"""Fails if the committed protobuf code is not what proto/ generates. Run by `make check`."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "proto" / "node" / "wire").glob("*.proto"))


def stale() -> list[str]:
    """Names of generated files that differ from what the sources give."""
    with tempfile.TemporaryDirectory() as folder:
        protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto")]
        outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
        subprocess.run([*protoc, *outputs, *map(str, SOURCES)], check=True)
        control = [f"--grpc_python_out={folder}", str(ROOT / "proto/node/wire/control.proto")]
        subprocess.run([*protoc, *control], check=True)
        made = {p.name: p.read_bytes() for p in (Path(folder) / "node" / "wire").iterdir()}
    kept = {p.name: p.read_bytes() for p in (ROOT / "node" / "wire").glob("*_pb2*")}
    return sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))


if __name__ == "__main__":
    if names := stale():
        sys.exit(f"stale generated code, run `make proto`: {', '.join(names)}")
