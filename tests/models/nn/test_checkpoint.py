"""Checkpoints: what goes in comes out, and what is not ours is no checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from crossfade.models.nn.checkpoint import read_checkpoint, write_checkpoint


def test_an_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1)

    def step(module: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()

    step(module, optimiser)
    content = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "curve": [{"epoch": 1, "loss": 0.5}]}
    write_checkpoint(tmp_path / "c", "print", content)
    found = read_checkpoint(tmp_path / "c", "print")
    assert found is not None
    assert found["curve"] == content["curve"]
    again = torch.nn.Linear(3, 2)
    again.load_state_dict(found["module"])
    resumed = torch.optim.AdamW(again.parameters(), lr=0.1)
    resumed.load_state_dict(found["optimiser"])
    step(module, optimiser)
    step(again, resumed)
    assert torch.equal(module.weight, again.weight)


def test_missing_damaged_and_foreign_files_are_no_checkpoints(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "none", "print") is None
    write_checkpoint(tmp_path / "c", "print", {"x": torch.ones(3)})
    assert read_checkpoint(tmp_path / "c", "other") is None
    data = (tmp_path / "c").read_bytes()
    for damaged in (b"", b"text that is no checkpoint", data[:-4]):
        (tmp_path / "c").write_bytes(damaged)
        assert read_checkpoint(tmp_path / "c", "print") is None
