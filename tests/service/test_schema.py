"""schemathesis over the OpenAPI document: whatever it makes up, the service answers as the document says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from processes import running


@pytest.mark.slow
def test_the_service_keeps_its_openapi_document(folder: Path, tmp_path: Path) -> None:
    with running(folder, "--rate", "0", log=tmp_path / "log") as service:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "--config-file",
                ROOT / "tests" / "schemathesis.toml",
                "run",
                f"{service.url}/openapi.json",
                "--max-examples=8",
                "--seed=1",
                "--no-color",
                "--suppress-health-check=all",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert '"level": "error"' not in service.text()
        assert service.stop() == 0
