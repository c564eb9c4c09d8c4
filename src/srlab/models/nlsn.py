"""NLSN: EDSR with non-local attention among pixels that a random hash sorts next to one another.

Paper:      Mei et al., "Image Super-Resolution With Non-Local Sparse Attention", CVPR 2021
Reference:  github.com/HarukiYqM/Non-Local-Sparse-Attention at fb3d4225, src/model/nlsn.py and attention.py
Deviations: the random rotations of the hash are fixed in evaluation unless ``hash_seed`` is None; there they
            are drawn again in every forward pass, so that its results vary. Pixels of one bucket are sorted
            stably. Images with fewer pixels than a chunk, which fail there, are one chunk.

Shape legend: B batch, C features, E = C / reduction, H/W low-resolution size, L = H * W pixels, R rounds of
hashing, S chunk size, P = ceil(L / S) chunks, D buckets.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from srlab.layers.arguments import require_counts, require_integer, require_positive
from srlab.layers.color import RGB_MEAN, rgb_mean
from srlab.layers.spatial_steps import steps_of
from srlab.layers.upsample import pixel_shuffle_stages
from srlab.models.network import AttentionNetwork
from srlab.models.residual_cnn import ResidualBlock
from srlab.ops.hashed_attention import REFERENCE, STREAMED, attend_in_buckets, count_buckets
from srlab.ops.reach import Step

# The most buckets that the authors hash to.
_MOST_BUCKETS = 128


class NonLocalSparseAttention(nn.Module):
    """Attention of each pixel to those of its bucket and of the two next to it, in several rounds (NLSA).

    Args:
        dim: features C.
        reduction: C / E, E features are compared.
        chunk_size: pixels S that are compared with one another and with those of the two chunks next to them.
        num_rounds: hashes R, whose results are weighed by their soft-max denominators.
        residual_scale: factor of the result before the input is added.
        generator: draws the rotations for evaluation; None: they are drawn in every forward pass.
    """

    global_parts: ClassVar[Mapping[str, str]] = {"attend": "non-local sparse attention"}

    def __init__(
        self,
        *,
        dim: int,
        reduction: int,
        chunk_size: int,
        num_rounds: int,
        residual_scale: float,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.chunk_size = chunk_size
        self.num_rounds = num_rounds
        self.residual_scale = residual_scale
        self.match = nn.Conv2d(dim, dim // reduction, 3, padding=1)
        self.assemble = nn.Conv2d(dim, dim, 1)
        fixed = None
        if generator is not None:
            shape = (dim // reduction, num_rounds, _MOST_BUCKETS // 2)
            # on the CPU, whatever the default device is: the same numbers everywhere
            fixed = torch.randn(shape, generator=generator, device="cpu").to(self.match.weight.device)
        self.register_buffer("rotations", fixed, persistent=False)
        self.rotations: Tensor | None

    def spatial_steps(self) -> list[Step]:
        """Of what is compared; the attention itself reaches everywhere."""
        return steps_of(self.match)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        embedded, values = (conv(features).flatten(2).transpose(1, 2) for conv in (self.match, self.assemble))
        mixed = self.attend(embedded, values, backend)
        return mixed.transpose(1, 2).reshape(features.shape) * self.residual_scale + features

    def attend(self, embedded: Tensor, values: Tensor, backend: str) -> Tensor:
        """(B, L, E) and (B, L, C) to (B, L, C)."""
        buckets = count_buckets(embedded.shape[1], self.chunk_size, _MOST_BUCKETS)
        rotations = self.rotations_for(embedded, buckets)
        return attend_in_buckets(embedded, values, rotations, chunk_size=self.chunk_size, form=backend)

    def rotations_for(self, embedded: Tensor, buckets: int) -> Tensor:
        """(E, R, buckets / 2), normally distributed, the same for all images of a batch."""
        if self.training or self.rotations is None:
            shape = (embedded.shape[-1], self.num_rounds, buckets // 2)
            return torch.randn(shape, dtype=embedded.dtype, device=embedded.device)
        return self.rotations[..., : buckets // 2].to(embedded.dtype)


class NLSN(AttentionNetwork):
    """Non-local sparse network.

    **Its attention is random.** Training draws new rotations in every forward pass from PyTorch's global
    generator, as the authors' code does in evaluation, too. Here evaluation uses those that ``hash_seed``
    determines: the same image gives the same result on every machine, up to rounding that moves a pixel to
    another bucket.

    Args:
        scale: 3 or a power of two.
        dim: feature channels C.
        depth: residual blocks.
        attention_every: residual blocks between attentions; one more comes before the first block.
        reduction: see :class:`NonLocalSparseAttention`.
        chunk_size: see there.
        num_rounds: see there.
        residual_scale: factor of every residual branch and of the attentions.
        value_range: the network sees (image - mean colour) times this.
        hash_seed: of the rotations in evaluation; None: new ones in every forward pass.
        backend: see :class:`AttentionNetwork`; ``streamed`` holds a few chunks of one round at a time.
        mean: that colour, in [0, 1].
    """

    plain_backends = (REFERENCE, STREAMED)
    default_backend = STREAMED
    unexportable: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("onnx", "openvino"), "buckets are sorted stably, for which PyTorch's exporter has no operator"
        ),
        "pt2 of any size": "the number of buckets depends on the image; give one --size",
    }

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depth: int,
        attention_every: int,
        reduction: int,
        chunk_size: int,
        num_rounds: int,
        residual_scale: float,
        value_range: float,
        hash_seed: int | None = 0,
        backend: str = "auto",
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        super().__init__(scale=scale, backend=backend)
        require_counts(depth=depth, attention_every=attention_every)
        if require_integer("reduction", reduction) > require_integer("dim", dim):
            raise ValueError(f"reduction={reduction} leaves none of dim={dim} channels; use at most {dim}")
        self.value_range = require_positive("value_range", value_range)
        generator = None
        if hash_seed is not None:
            generator = torch.Generator("cpu").manual_seed(require_integer("hash_seed", hash_seed, minimum=0))
        # rounded to float32 after the product, as the authors' mean shift is
        self.register_buffer("color_offset", rgb_mean(value_range, mean), persistent=False)
        self.color_offset: Tensor
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        attention = {
            "dim": dim,
            "reduction": reduction,
            "chunk_size": require_integer("chunk_size", chunk_size),
            "num_rounds": require_integer("num_rounds", num_rounds),
            "residual_scale": residual_scale,
        }

        def modules() -> Iterator[nn.Module]:
            for index in range(depth + 1):
                if index:
                    yield ResidualBlock(dim=dim, residual_scale=residual_scale)
                if index % attention_every == 0:
                    yield NonLocalSparseAttention(**attention, generator=generator)

        self.body = nn.ModuleList(modules())
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.upsample = pixel_shuffle_stages(scale=scale, channels=dim)
        self.conv_last = nn.Conv2d(dim, 3, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """All convolutions, in order."""
        return steps_of(*self.children())

    def restore(self, lr_image: Tensor) -> Tensor:
        """Blocks and attentions at low resolution, then pixel shuffles."""
        backend = self.backend_for(lr_image)
        image = lr_image * self.value_range - self.color_offset
        shallow = features = self.conv_first(image.contiguous(memory_format=torch.channels_last))
        for block in self.body:
            attends = isinstance(block, NonLocalSparseAttention)
            features = block(features, backend) if attends else block(features)
        features = self.conv_after_body(features) + shallow
        return (self.conv_last(self.upsample(features)) + self.color_offset) / self.value_range
