"""A projector's way in that hears every direction of face embeddings alike.

Embeddings share most of what they say (a rendered face is like every other), and what tells people apart are weak
directions: a fresh projector hears them last.
"""

import torch

from ..adapter_file import StateDict

LEAST = 0.05  # of the mean variance: weaker directions are not raised further, they are noise


def whiten(projector: StateDict, embeddings: torch.Tensor) -> StateDict:
    """A projector's weights, so that it does with whitened embeddings what it did with raw ones.

    Args:
        projector: as its file has it: proj_in.weight (inner, d) and proj_in.bias (inner,).
        embeddings: (n, d) float32 raw, of many people.
    """
    mean = embeddings.double().mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov(embeddings.double().T))
    variances = variances.clamp(min=LEAST * variances.mean())
    # Symmetric (ZCA): each number of an embedding stays as near to what it was as can be.
    whitening = (directions / variances.sqrt()) @ directions.T
    weight = projector["proj_in.weight"].double() @ whitening
    bias = projector["proj_in.bias"].double() - weight @ mean
    return projector | {"proj_in.weight": weight.float(), "proj_in.bias": bias.float()}
