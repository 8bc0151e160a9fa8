"""Class-conditional diffusion in pixel space: small images of a class, with a differentiable sampling path.

A U-Net behind EDM preconditioning is trained to remove noise of every level; images are made by a few deterministic
steps of the probability-flow ODE. The start latent and an additive change of the class embedding at each step can be
optimised through the whole chain (cards 1 and 2).

Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models" (2023), arXiv 2312.02696:
preconditioning and loss (eq. 2, 4, 21), power-function average of weights (eq. 127), and with ``net="mp"`` the
magnitude-preserving network. The default network is an ordinary one (group norm, biases), which is ahead at a budget
of minutes; the learning rate follows a cosine instead of an inverse square root for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from kintsugi.core.card import Card
from kintsugi.core.devices import pick
from kintsugi.core.errors import BadCheckpoint, BadData, one_of, require
from kintsugi.core.files import read_json, write_json
from kintsugi.core.kinds import State
from kintsugi.core.randomness import draw_seed, torch_rng
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.plain_unet import GROUPS, PlainUNet
from kintsugi.generate.diffusion.posthoc_ema import exponent
from kintsugi.generate.diffusion.precondition import Denoiser, DenoisingLoss
from kintsugi.generate.diffusion.samplers import (
    METHODS,
    Denoise,
    classifier_free,
    invert,
    karras_levels,
    keep_norm,
    sample,
)
from kintsugi.generate.diffusion.unet import UNet
from kintsugi.training.fit import fit
from kintsugi.training.settings import Training

CARD = Card(
    name="pixel_diffusion",
    kind="generator",
    title="class-conditional diffusion in pixel space, differentiable end to end",
    paper="Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (2023), arXiv 2312.02696",
    card=80,
    code="NVlabs/edm2",
    status="proven",
)

NETS = {"plain": PlainUNet, "mp": UNet}
CHUNK = 100  # images sampled together when nothing is differentiated


@dataclass
class PixelDiffusion:
    """A diffusion model of small RGB images.

    Args:
        size: side of the (square) images, a multiple of ``patch`` times 2 for each level after the first.
        net: ``plain`` or ``mp`` (magnitude-preserving).
        widths: channels of each level, multiples of 8.
        blocks: residual blocks of each level.
        patch: side of the square of pixels folded into channels first.
        embedding: width of the class embedding.
        steps: training steps.
        batch_size: images a training step.
        lr: top learning rate of Adam; 0.003 suits ``plain``, 0.01 to 0.02 ``mp``.
        warmup: steps of linear rise to it.
        ema: relative length of the average of weights that is kept, 0 to below 0.288.
        noise_mean: mean of ln(sigma) in training.
        noise_std: standard deviation of ln(sigma) in training.
        label_dropout: share of training images shown without their class, for classifier-free guidance.
        sampling_steps: steps of the sampler.
        method: ``euler`` (DDIM) or ``heun``.
        sigma_min: lowest noise level of the sampler.
        sigma_max: highest.
        guidance_scale: of classifier-free guidance; 1 is none and needs no second pass.
        checkpointed: compute sampling steps again in the backward pass instead of keeping them.
        inversion: fixed-point iterations for each step when a real image is inverted.
        checkpoint_every: training steps between checkpoints in a run folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Attributes:
        classes: class names, after :meth:`fit` or :meth:`load`.
    """

    size: int = 24
    net: str = "plain"
    widths: tuple[int, ...] = (48, 96)
    blocks: tuple[int, ...] = (1, 1)
    patch: int = 2
    embedding: int = 96
    steps: int = 1200
    batch_size: int = 64
    lr: float = 0.003
    warmup: int = 20
    ema: float = 0.1
    noise_mean: float = -0.8
    noise_std: float = 1.4
    label_dropout: float = 0.1
    sampling_steps: int = 8
    method: str = "euler"
    sigma_min: float = 0.05
    sigma_max: float = 20.0
    guidance_scale: float = 1.0
    checkpointed: bool = False
    inversion: int = 8
    checkpoint_every: int | None = 200
    device: str = "auto"

    def __post_init__(self) -> None:
        one_of("net", self.net, tuple(NETS))
        one_of("method", self.method, METHODS)
        self.widths, self.blocks = tuple(self.widths), tuple(self.blocks)
        unit = GROUPS if self.net == "plain" else 1
        require(bool(self.widths) and all(w >= unit and w % unit == 0 for w in self.widths), "widths", self.widths,
                f"multiples of {unit}")  # fmt: skip
        require(len(self.blocks) == len(self.widths) and all(n >= 1 for n in self.blocks), "blocks", self.blocks,
                f"a number from 1 for each of the {len(self.widths)} widths")  # fmt: skip
        require(self.patch >= 1, "patch", self.patch, "a whole number from 1")
        fold = self.patch * 2 ** (len(self.widths) - 1)
        require(self.size >= fold and self.size % fold == 0, "size", self.size, f"a multiple of {fold}")
        require(self.embedding >= 2 and self.embedding % 2 == 0, "embedding", self.embedding, "an even number")
        require(0 < self.sigma_min < self.sigma_max, "sigma_min", self.sigma_min, f"above 0, below {self.sigma_max}")
        require(self.noise_std > 0, "noise_std", self.noise_std, "a number above 0")
        require(0 <= self.label_dropout < 1, "label_dropout", self.label_dropout, "a share from 0 to below 1")
        require(self.guidance_scale == 1 or self.label_dropout > 0, "guidance_scale", self.guidance_scale,
                "1, or train with label_dropout above 0")  # fmt: skip
        require(self.inversion >= 1, "inversion", self.inversion, "at least 1")
        self.levels = karras_levels(self.sampling_steps, sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        self._how = Training(steps=self.steps, batch_size=self.batch_size, lr=self.lr, warmup=self.warmup,
                             optimizer="adam", ema_power=exponent(self.ema), device=self.device,
                             checkpoint_every=self.checkpoint_every, size=(self.size, self.size))  # fmt: skip
        self.classes: tuple[str, ...] = ()
        self._denoiser: Denoiser | None = None

    # --------------------------------------------------------------------------------------------- training

    def fit(self, data: ImageSet, *, rng: torch.Generator, run: Run | None = None, hooks: Sequence[Any] = ()
            ) -> PixelDiffusion:  # fmt: skip
        """Train on all labelled images; returns itself.

        Args:
            data: images of any size, brought to ``size``.
            rng: one seed is drawn from it; a resumed run must be given the same.
            run: folder to resume from and to leave weights and metrics in.
            hooks: of the training loop, such as :class:`~kintsugi.generate.diffusion.posthoc_ema.PowerEMA`.
        """
        seed = draw_seed(rng)
        self.classes = data.classes
        denoiser = self._build(seed)
        objective = DenoisingLoss(mean=self.noise_mean, std=self.noise_std, label_dropout=self.label_dropout,
                                  rng=torch_rng(seed, "uncertainty"))  # fmt: skip
        fit(denoiser, data, objective, how=self._how, hooks=hooks, rng=seed, run=run)
        self._keep(denoiser)
        return self

    def _build(self, seed: int = 0) -> Denoiser:
        options = {"widths": self.widths, "blocks": self.blocks, "patch": self.patch, "embedding": self.embedding}
        return Denoiser(NETS[self.net](3, len(self.classes), **options, rng=torch_rng(seed, "weights")))

    def _keep(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser.to(pick(self.device)).eval().requires_grad_(False)

    @property
    def denoiser(self) -> Denoiser:
        """The trained denoiser, in eval mode and without weight gradients.

        Raises:
            BadData: it is not trained yet.
        """
        if self._denoiser is None:
            raise BadData("pixel_diffusion is not trained yet.", "Call fit, or load a trained one.")
        return self._denoiser

    # --------------------------------------------------------------------------------------------- sampling

    @torch.no_grad()
    def sample(self, n: int, condition: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """``n`` images float ``[n, 3, size, size]`` in 0..1 of classes ``condition`` (int64 ``[n]``)."""
        require(len(condition) == n, "condition", tuple(condition.shape), f"classes of shape [{n}]")
        return torch.cat([self.decode(self.init_state(k, rng), k)[-1] for k in condition.split(CHUNK)])

    def init_state(self, condition: torch.Tensor, rng: torch.Generator, image: torch.Tensor | None = None) -> State:
        """Leaf tensors: ``latent`` ``[B, 3, size, size]`` of unit variance, ``condition`` ``[B, steps, embedding]``.

        With classifier-free guidance there is ``null`` of the same shape. ``latent_norm`` ``[B]`` goes with them for
        :meth:`project`. ``image`` ``[B, 3, size, size]`` in 0..1 is inverted along Euler's steps.
        """
        weight = next(self.denoiser.parameters())
        count = len(condition)
        if image is None:
            drawn = torch.randn((count, 3, self.size, self.size), generator=rng, device=rng.device)
            latent = drawn.to(weight)
        else:
            require(tuple(image.shape) == (count, 3, self.size, self.size), "image", tuple(image.shape),
                    f"[{count}, 3, {self.size}, {self.size}]")  # fmt: skip
            none = weight.new_zeros(count, self.sampling_steps, 1)
            with torch.no_grad():
                noisy = invert(self._denoise(condition, none, none), image.to(weight) * 2 - 1, self.levels,
                               iterations=self.inversion)  # fmt: skip
            latent = noisy / float(self.levels[0])
        state = {"latent": latent.requires_grad_()}
        for name in ("condition", "null") if self.guidance_scale != 1 else ("condition",):
            state[name] = weight.new_zeros(count, self.sampling_steps, self.embedding).requires_grad_()
        state["latent_norm"] = latent.detach().flatten(1).norm(dim=1)
        return state

    def decode(self, state: State, condition: torch.Tensor, *, last: int = 1) -> torch.Tensor:
        """Images ``[last, B, 3, size, size]`` in 0..1 predicted at the last sampling steps."""
        denoise = self._denoise(condition, state["condition"], state.get("null", state["condition"]))
        made = sample(denoise, state["latent"] * float(self.levels[0]), self.levels, method=self.method, last=last,
                      checkpointed=self.checkpointed and torch.is_grad_enabled())  # fmt: skip
        return (made / 2 + 0.5).clamp(0, 1)

    def project(self, state: State) -> None:
        """Rescale each start latent to its initial norm, in place."""
        keep_norm(state["latent"], state["latent_norm"])

    @torch.no_grad()
    def reconstruct(self, image: torch.Tensor, condition: torch.Tensor, rng: torch.Generator, *, skip: int = 4
                    ) -> torch.Tensor:  # fmt: skip
        """Real images noised to the level of step ``skip`` and cleaned again (Meng et al., SDEdit, 2108.01073)."""
        require(0 <= skip < self.sampling_steps, "skip", skip, f"0 to {self.sampling_steps - 1}")
        like = next(self.denoiser.parameters())
        noise = torch.randn(image.shape, generator=rng, device=rng.device).to(like)
        none = like.new_zeros(len(condition), self.sampling_steps, 1)
        denoise = self._denoise(condition, none, none)
        x = image.to(like) * 2 - 1 + float(self.levels[skip]) * noise
        made = sample(lambda x, step: denoise(x, step + skip), x, self.levels[skip:], method=self.method)[-1]
        return (made / 2 + 0.5).clamp(0, 1)

    def _denoise(self, condition: torch.Tensor, delta: torch.Tensor, null_delta: torch.Tensor) -> Denoise:
        """The denoiser of given classes, with an additive change ``[B, steps, E]`` of their embeddings."""
        model = self.denoiser
        label = condition.to(delta.device)
        text, null = model.embed(label), model.embed(torch.full_like(label, -1))

        def denoise(x: torch.Tensor, step: int) -> torch.Tensor:
            sigma = torch.full((len(x),), float(self.levels[step]), dtype=x.dtype, device=x.device)
            wanted = text + delta[:, step]
            if self.guidance_scale == 1:
                return model(x, sigma, wanted)
            both = model(torch.cat([x, x]), sigma.repeat(2), torch.cat([wanted, null + null_delta[:, step]]))
            with_class, without = both.chunk(2)
            return classifier_free(with_class, without, self.guidance_scale)

        return denoise

    # ---------------------------------------------------------------------------------------------- storage

    def save(self, folder: Path | str) -> None:
        """Write ``generator.json`` and ``generator.safetensors``."""
        run = Run(folder)
        run.save_weights(self.denoiser.state_dict(), "generator.safetensors")
        write_json(run.path("generator.json"), {"name": CARD.name, "classes": self.classes, **asdict(self)})

    @classmethod
    def load(cls, folder: Path | str, *, device: str = "auto") -> PixelDiffusion:
        """Read what :meth:`save` wrote.

        Raises:
            BadCheckpoint: the files are missing, broken or of another kind of generator.
        """
        run = Run(folder)
        if not run.path("generator.json").exists():
            raise BadCheckpoint(f"{run.path('generator.json')} does not exist.", "Name a folder written by save.")
        config = read_json(run.path("generator.json"))
        if config.pop("name", None) != CARD.name or not set(config) <= {f.name for f in fields(cls)} | {"classes"}:
            raise BadCheckpoint(f"{run.path('generator.json')} is not of a pixel_diffusion.", "Name another folder.")
        classes = tuple(config.pop("classes"))
        made = cls(**{**config, "device": device})
        made.classes = classes
        denoiser = made._build()
        try:
            denoiser.load_state_dict(run.load_weights("generator.safetensors"))
        except (RuntimeError, BadData) as error:
            raise BadCheckpoint(
                f"{run.path('generator.safetensors')} does not hold the weights ({str(error).splitlines()[0]}).",
                "Restore the folder as it was saved.",
            ) from error
        made._keep(denoiser)
        return made
