"""The surgery of Yosinski et al. 2014: the first n layers of one network under new layers of another.

===========  =======================================  ==============================
treatment    the first n layers                       in this module
===========  =======================================  ==============================
BnB          copied from a base trained on B, frozen  ``transplant(b, freeze=True)``
BnB+         the same, learning on                    ``transplant(b, freeze=False)``
AnB          copied from a base trained on A, frozen  ``transplant(a, freeze=True)``
AnB+         the same, learning on                    ``transplant(a, freeze=False)``
random       random, frozen                           ``random_frozen``
===========  =======================================  ==============================

The layers above and the head are new, and everything not frozen is then trained on B. What is frozen is in evaluation
for good (:meth:`~tlcourse.transferability.networks.Network.freeze`): batch norm keeps the running statistics that it
came with, those of the source's texts, also while the rest trains. What is copied to learn on gets its statistics from
B's texts, as its weights do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tlcourse.transferability.networks import Network, build

NEW = 1  # goes with the seed, so that new layers are never those that the base of the same seed began with


def transplant(base: Network, *, n: int, freeze: bool, seed: int | Sequence[int], n_classes: int) -> Network:
    """A network whose first n layers are those of the base, and whose others are new.

    Args:
        base: stays as it is.
        n: from 0, nothing is copied, to N, all layers are and the head alone is new.
        freeze: the copied layers do not learn.
        seed: of the new weights.
        n_classes: of the new task.

    Raises:
        ValueError: the base has no n layers.
    """
    network = new_like(base, n=n, seed=seed, n_classes=n_classes)
    network.layers[:n].load_state_dict(base.layers[:n].state_dict())
    return network.freeze(n) if freeze else network


def random_frozen(like: Network, *, n: int, seed: int | Sequence[int], n_classes: int) -> Network:
    """A new network of the same architecture whose first n layers stay as random as they are: the paper's floor.

    Their batch norm has the statistics it begins with, mean 0 and variance 1.

    Raises:
        ValueError: there are no n layers.
    """
    return new_like(like, n=n, seed=seed, n_classes=n_classes).freeze(n)


def new_like(network: Network, *, n: int, seed: int | Sequence[int], n_classes: int) -> Network:
    """A new network of the same architecture on the same device, if it has n layers."""
    if not 0 <= n <= len(network.layers):
        raise ValueError(f"n={n}: the network has {len(network.layers)} layers, so n is from 0 to that")
    seed = [*torch.atleast_1d(torch.as_tensor(seed)).tolist(), NEW]
    new = build(network.architecture, vocab_size=network.vocab_size, n_classes=n_classes, seed=seed)
    return new.to(network.device)
