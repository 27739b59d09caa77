"""Mult-VAE and Mult-DAE: an autoencoder over a user's listens with a multinomial likelihood.

Liang, Krishnan, Hoffman & Jebara (2018), "Variational Autoencoders for Collaborative Filtering". What a user likes goes
in (as 0 or 1, at unit length, half of it dropped while learning), a distribution over all tracks comes out. The user's
vector is the last hidden layer, a track's vector its column of the output layer. The weight of the prior grows from 0.

Shapes: U users, T tracks, F factors, H hidden units, B users asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..arrays import Scores
from ..nn.training_loop import Watch, device
from ..storage import load_model, load_options, prefixed, save_model
from .base import History
from .neural import DotRecommender, NeuralOptions, bags, tensor_int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, kw_only=True)
class VAEOptions(NeuralOptions):
    # Tried by hand on a validation part of ml-latest-small; scripts/experiments/choose_neural varies them one by one.
    patience: int = 4
    learning_rate: float = 5e-3
    factors: int = 128
    hidden: int = 0
    """Units of a layer between the tracks and the factors; 0 for none."""
    dropout: float = 0.5
    """share of a user's listens that is hidden from the encoder"""
    prior_weight: float = 0.2
    """of the Kullback-Leibler term in the end (beta); the paper's best"""
    prior_steps: int = 400
    """batches until it has that weight"""
    batch: int | None = None
    """users; None for a twentieth of them, 32 to 256"""


class _Autoencoder(nn.Module):
    def __init__(self, tracks: int, options: VAEOptions, variational: bool) -> None:
        super().__init__()
        outputs = options.factors * (2 if variational else 1)
        first = options.hidden or outputs
        self.into = nn.Embedding(tracks, first)
        nn.init.normal_(self.into.weight, std=(2 / (tracks + first)) ** 0.5)
        self.into_bias = nn.Parameter(torch.zeros(first))
        self.second = nn.Linear(options.hidden, outputs) if options.hidden else None
        self.out = nn.Linear(options.factors, tracks)
        nn.init.xavier_normal_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def encode(self, tracks: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        summed = functional.embedding_bag(
            tracks, self.into.weight, starts, mode="sum", per_sample_weights=weights, include_last_offset=False
        )
        found = summed + self.into_bias
        code: Tensor = found if self.second is None else self.second(torch.tanh(found))
        return code


class MultVAE(DotRecommender):
    """Recommends by the distribution over tracks that a user's listens are decoded to."""

    name = "vae"
    variational = True
    options: VAEOptions

    def __init__(
        self, options: VAEOptions | None = None, *, checkpoint: Path | None = None, watch: Watch | None = None
    ) -> None:
        super().__init__(checkpoint=checkpoint, watch=watch)
        self.options = options or VAEOptions()

    def fold_in(self, heard: csr_matrix) -> Scores:
        """One pass through the encoder."""
        binary = heard.astype(np.float32)
        binary.data = np.ones_like(binary.data)
        counts = np.maximum(np.diff(binary.indptr), 1)
        found = binary @ self.encoder["into"] / np.sqrt(counts, dtype=np.float32)[:, None] + self.encoder["into_bias"]
        if "second" in self.encoder:
            found = np.tanh(found) @ self.encoder["second"].T + self.encoder["second_bias"]
        found = np.asarray(found[:, : self.options.factors], np.float32)
        return found if self.variational else np.tanh(found)

    def save(self, folder: Path) -> None:
        arrays = {"track_vectors": self.track_vectors, "track_bias": self.track_bias}
        encoder = {f"encoder_{name}": array for name, array in self.encoder.items()}
        save_model(folder, self.name, arrays | encoder | self.history.arrays(), self.options)

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, header = load_model(folder, cls.name)
        model = cls(load_options(VAEOptions, header))
        model.track_vectors, model.track_bias = arrays["track_vectors"], arrays["track_bias"]
        model.encoder = prefixed(arrays, "encoder_")
        model.history = History.from_arrays(arrays)
        return model

    def _build(self) -> nn.Module:
        return _Autoencoder(self.history.liked.shape[1], self.options, self.variational)

    def _batches(self, rng: np.random.Generator) -> Iterator[csr_matrix]:
        users = rng.permutation(np.flatnonzero(self.history.warm_users))
        size = self.options.batch or int(np.clip(len(users) // 20, 32, 256))
        for start in range(0, len(users), size):
            yield self.history.liked[users[start : start + size]]

    def _loss(self, module: Any, batch: csr_matrix) -> Tensor:
        options = self.options
        counts = np.diff(batch.indptr)
        tracks, starts = bags(batch)
        owners = tensor_int(np.repeat(np.arange(len(counts)), counts))
        kept = (torch.rand(len(tracks), device=device()) >= options.dropout) / (1 - options.dropout)
        weights = kept / torch.sqrt(tensor_int(counts).float())[owners]
        code = module.encode(tracks, starts, weights)
        penalty = torch.zeros((), device=device())
        if self.variational:
            mean, log_variance = code.split(options.factors, dim=1)
            code = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
            divergence = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)
            module.steps += 1
            penalty = options.prior_weight * min(1.0, module.steps.item() / options.prior_steps) * divergence.mean()
        else:
            code = functional.dropout(torch.tanh(code), 0.2)
        logits = module.out(code)
        # Σ log softmax over the user's tracks, without a second matrix of that size.
        likelihood = logits[owners, tracks].sum() - (torch.logsumexp(logits, dim=1) * tensor_int(counts)).sum()
        loss: Tensor = penalty - likelihood / len(counts)
        return loss

    def _keep(self, module: Any) -> None:
        self.track_vectors = module.out.weight.detach().cpu().numpy().copy()
        self.track_bias = module.out.bias.detach().cpu().numpy().copy()
        self.encoder: dict[str, Scores] = {
            "into": module.into.weight.detach().cpu().numpy().copy(),
            "into_bias": module.into_bias.detach().cpu().numpy().copy(),
        }
        if module.second is not None:
            self.encoder["second"] = module.second.weight.detach().cpu().numpy().copy()
            self.encoder["second_bias"] = module.second.bias.detach().cpu().numpy().copy()


class MultDAE(MultVAE):
    """The same without the prior: the code is a point, kept small by dropout."""

    name = "dae"
    variational = False
