"""Options from a configuration file, as the command line takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_training import OPTIONS

from crossfade.errors import UsageError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.commands.options import read_configuration, show_configuration
from crossfade.pipelines.training.train import TrainingOptions


def test_what_is_shown_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "train.toml"
    file.write_text(show_configuration(OPTIONS))
    assert read_configuration(file, TrainingOptions()) == OPTIONS
    assert main(["train", "--config", str(file), "--top", "7", "--show-config"]) == 0
    file.write_text(capsys.readouterr().out)
    assert read_configuration(file, TrainingOptions()).artefacts == replace(OPTIONS.artefacts, top=7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tau = 3", "tau: no such option"),
        ("[ranking.ranker]\ntrees = 5", "ranking.ranker.trees: no such option"),
        ('seed = "one"', "seed: 'one'; it has to be int"),
        ("cleaning = 5", "it is a table"),
        ("[reranking]\ndiversity = 5", "it has to be from 0 to 1"),
        ('[ranking.ranker]\nobjective = "x"', "objective: x"),
        ("seed = ", "not TOML"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "train.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_configuration(file, TrainingOptions())
    with pytest.raises(UsageError, match="No such file"):
        read_configuration(tmp_path / "none.toml", TrainingOptions())
