"""Mult-VAE and Mult-DAE: an autoencoder over a user's listens with a multinomial likelihood.

Liang, Krishnan, Hoffman & Jebara (2018), "Variational Autoencoders for Collaborative Filtering". What a user likes goes
in (as 0 or 1, at unit length, half of it dropped while learning), a distribution over all tracks comes out. The user's
vector is the last hidden layer, a track's vector its column of the output layer. The weight of the prior grows from 0.

Shapes: U users, T tracks, F factors, H hidden units, B users asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import Scores, as_binary
from ...nn.training_loop import device, state_arrays
from ..search_space import Choice, Range, SearchSpace
from .base import DotRecommender, NeuralOptions, multinomial_loss, tensor_int

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

    options_type = VAEOptions
    stored_arrays = ("track_vectors", "track_bias", ("encoder", "encoder_"))
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(1e-3, 2e-2, logarithmic=True),
        "factors": Choice((64, 128, 256)),
        "hidden": Choice((0, 0, 256)),
        "dropout": Range(0.3, 0.7),
        "prior_weight": Range(0.02, 1, logarithmic=True),
    }

    def fold_in(self, user_items: csr_matrix) -> Scores:
        """One pass through the encoder."""
        binary = as_binary(user_items)
        counts = np.maximum(np.diff(binary.indptr), 1)
        found = binary @ self.encoder["into"] / np.sqrt(counts, dtype=np.float32)[:, None] + self.encoder["into_bias"]
        if "second" in self.encoder:
            found = np.tanh(found) @ self.encoder["second"].T + self.encoder["second_bias"]
        found = np.asarray(found[:, : self.options.factors], np.float32)
        return found if self.variational else np.tanh(found)

    def _build(self) -> nn.Module:
        return _Autoencoder(self.history.liked.shape[1], self.options, self.variational)

    def _batches(self, rng: np.random.Generator) -> Iterator[csr_matrix]:
        return self._user_batches(self.options.batch, rng)

    def _loss(self, module: Any, batch: csr_matrix) -> Tensor:
        options = self.options
        counts = np.diff(batch.indptr)
        tracks, starts = tensor_int(batch.indices), tensor_int(batch.indptr[:-1])
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
        return penalty + multinomial_loss(logits, owners, tracks, counts)

    def _keep(self, module: Any) -> None:
        arrays = state_arrays(module)
        self.track_vectors, self.track_bias = arrays["out.weight"], arrays["out.bias"]
        self.encoder: dict[str, Scores] = {"into": arrays["into.weight"], "into_bias": arrays["into_bias"]}
        if module.second is not None:
            self.encoder |= {"second": arrays["second.weight"], "second_bias": arrays["second.bias"]}


class MultDAE(MultVAE):
    """The same without the prior: the code is a point, kept small by dropout."""

    name = "dae"
    variational = False
    search_space: ClassVar[SearchSpace] = {
        option: values for option, values in MultVAE.search_space.items() if option != "prior_weight"
    }
