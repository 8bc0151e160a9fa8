"""Text-to-image latent diffusion as a differentiable generator: a Stable Diffusion pipeline, guided in its latents.

The start latent, an additive change of the text embedding at each sampling step and one of the null-text embedding are
the state; the whole DDIM chain with classifier-free guidance is differentiated, each U-Net step and each decoding
computed again in the backward pass.

Augustin et al., DiG-IN (2023), arXiv 2311.17833, section 3 and appendix: 20 DDIM steps, guidance scale 3, prompt
"a photograph of a {class}", loss on the last 3 predicted clean latents, decoded and clamped to 0..1, latents rescaled
to their initial norm. Real images are inverted by DDIM at the same guidance scale, each step solved by fixed-point
iteration; null-text optimisation (card 2, step 8) is not part of it. Networks are never trained here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from kintsugi.core.card import Card
from kintsugi.core.errors import BadArgument, BadCheckpoint, one_of, require
from kintsugi.core.kinds import State
from kintsugi.core.optional import need
from kintsugi.core.run import Run
from kintsugi.data.imageset import ImageSet
from kintsugi.generate.diffusion.samplers import Denoise, classifier_free, invert, keep_norm, sample

CARD = Card(
    name="stable_diffusion",
    kind="generator",
    title="Stable Diffusion pipelines with a differentiable sampling path",
    paper="Augustin et al., DiG-IN: Diffusion Guidance for Investigating Networks (2023), arXiv 2311.17833",
    card=2,
    code="M4xim4l/DiG-IN",
    needs=("generate",),
)

PREDICTIONS = ("epsilon", "v_prediction")


class StableDiffusion:
    """A Stable Diffusion pipeline behind the generator protocol.

    Args:
        pipeline: a ``diffusers`` pipeline with ``unet``, ``vae``, ``text_encoder``, ``tokenizer`` and ``scheduler``;
            or the name or folder of one, loaded from safetensors only.
        classes: class names, put into the prompt.
        prompt: with ``{class}`` where the name goes.
        steps: DDIM steps.
        guidance_scale: weight of the prompt against the null text, above 1.
        size: side of the images; None takes the pipeline's own.
        checkpointed: compute U-Net steps and decodings again in the backward pass instead of keeping them.
        inversion: fixed-point iterations for each step when a real image is inverted.
        device: where to load a named pipeline.

    Raises:
        BadArgument: a setting is not allowed, or the pipeline lacks a part.
        BadCheckpoint: no pipeline with safetensors weights there.
        MissingDependency: ``diffusers`` is not installed.
    """

    def __init__(
        self,
        pipeline: Any,
        classes: tuple[str, ...],
        *,
        prompt: str = "a photograph of a {class}",
        steps: int = 20,
        guidance_scale: float = 3.0,
        size: int | None = None,
        checkpointed: bool = True,
        inversion: int = 5,
        device: str = "cpu",
    ) -> None:
        require("{class}" in prompt, "prompt", prompt, "a text that contains {class}")
        require(steps >= 2, "steps", steps, "at least 2")
        require(guidance_scale > 1, "guidance_scale", guidance_scale, "a number above 1")
        require(len(classes) > 0, "classes", classes, "at least one class name")
        require(inversion >= 1, "inversion", inversion, "at least 1")
        pipe = _load(pipeline, device) if isinstance(pipeline, str | Path) else pipeline
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            if getattr(pipe, part, None) is None:
                raise BadArgument.of("pipeline", type(pipe).__name__, f"a pipeline with a {part}")
        self.unet, self.vae, self.text_encoder, self.tokenizer = pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer
        for module in (self.unet, self.vae, self.text_encoder):
            module.eval().requires_grad_(False)  # eval: norm layers and dropout; checkpointing is ours, not theirs
        self.classes, self.prompt, self.guidance_scale = tuple(classes), prompt, guidance_scale
        self.steps, self.checkpointed, self.inversion = steps, checkpointed, inversion
        ddim = need("diffusers", "generate").DDIMScheduler.from_config(pipe.scheduler.config)
        one_of("prediction_type", ddim.config.prediction_type, PREDICTIONS)
        self.prediction = ddim.config.prediction_type
        ddim.set_timesteps(steps)
        self.timesteps = ddim.timesteps.tolist()
        # In the form x = z / sqrt(alpha_bar) noise is added to the clean latent: sigma^2 = 1 / alpha_bar - 1.
        stride = ddim.config.num_train_timesteps // steps
        before = [t - stride for t in self.timesteps]
        alpha = [float(ddim.alphas_cumprod[t]) for t in self.timesteps]
        after = [float(ddim.alphas_cumprod[t] if t >= 0 else ddim.final_alpha_cumprod) for t in before]
        self.levels = [(1 / a - 1) ** 0.5 for a in (*alpha, after[-1])]
        self.scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        side = size or self.unet.config.sample_size * self.scale
        require(side % self.scale == 0, "size", size, f"a multiple of {self.scale}")
        self.latent_shape = (self.unet.config.in_channels, side // self.scale, side // self.scale)
        self.size = side

    # ------------------------------------------------------------------------------------------ the protocol

    def fit(self, data: ImageSet, *, rng: torch.Generator, run: Run | None = None) -> Any:
        """Pretrained pipelines are not trained here.

        Raises:
            BadArgument: always.
        """
        raise BadArgument("stable_diffusion is used as it was trained:", "name a pipeline fine-tuned for your data.")

    @torch.no_grad()
    def sample(self, n: int, condition: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """``n`` images float ``[n, 3, size, size]`` in 0..1 of classes ``condition`` (int64 ``[n]``)."""
        require(len(condition) == n, "condition", tuple(condition.shape), f"classes of shape [{n}]")
        made = [self.decode(self.init_state(one, rng), one)[-1] for one in condition.split(1)]
        return torch.cat(made)

    def init_state(self, condition: torch.Tensor, rng: torch.Generator, image: torch.Tensor | None = None) -> State:
        """Leaf tensors: ``latent`` ``[B, 4, h, w]``, ``condition`` and ``null`` ``[B, steps, tokens, width]``.

        ``latent_norm`` ``[B]`` goes with them for :meth:`project`. ``image`` ``[B, 3, H, W]`` in 0..1 is encoded and
        inverted by DDIM.
        """
        like, count = self._embed(("",)), len(condition)
        if image is None:
            drawn = torch.randn((count, *self.latent_shape), generator=rng, device=rng.device)
            latent = drawn.to(like)
        else:
            latent = self._invert(image.to(like), condition)
        delta = like.new_zeros(count, self.steps, *like.shape[1:])
        return {
            "latent": latent.requires_grad_(),
            "condition": delta.clone().requires_grad_(),
            "null": delta.requires_grad_(),
            "latent_norm": latent.detach().flatten(1).norm(dim=1),
        }

    def decode(self, state: State, condition: torch.Tensor, *, last: int = 1) -> torch.Tensor:
        """Images ``[last, B, 3, size, size]`` in 0..1 decoded from the last predicted clean latents."""
        denoise = self._denoiser(condition, state["condition"], state["null"])
        x = state["latent"] * (1 + self.levels[0] ** 2) ** 0.5
        checkpointed = self.checkpointed and torch.is_grad_enabled()
        clean = sample(denoise, x, self.levels, last=last, checkpointed=checkpointed)
        return torch.stack([self._picture(one, checkpointed) for one in clean])

    def project(self, state: State) -> None:
        """Rescale each start latent to its initial norm, in place."""
        keep_norm(state["latent"], state["latent_norm"])

    # ----------------------------------------------------------------------------------------------- inside

    def _denoiser(self, condition: torch.Tensor, text_delta: torch.Tensor, null_delta: torch.Tensor) -> Denoise:
        prompts = tuple(self.prompt.replace("{class}", self.classes[int(k)]) for k in condition)
        text, null = self._embed(prompts), self._embed(("",)).expand(len(prompts), -1, -1)

        def denoise(x: torch.Tensor, step: int) -> torch.Tensor:
            sigma, a = self.levels[step], 1 / (1 + self.levels[step] ** 2)  # a: alpha_bar
            z = x * a**0.5
            words = torch.cat([null + null_delta[:, step], text + text_delta[:, step]])
            out = self.unet(torch.cat([z, z]), self.timesteps[step], encoder_hidden_states=words).sample
            without, with_text = out.chunk(2)
            said = classifier_free(with_text, without, self.guidance_scale)
            if self.prediction == "v_prediction":  # v = sqrt(a) eps - sqrt(1 - a) clean
                return a**0.5 * z - (1 - a) ** 0.5 * said
            return x - sigma * said

        return denoise

    def _picture(self, latent: torch.Tensor, checkpointed: bool) -> torch.Tensor:
        def decoded(z: torch.Tensor) -> torch.Tensor:
            return (self.vae.decode(z / self.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)

        return checkpoint(decoded, latent, use_reentrant=False) if checkpointed else decoded(latent)

    @torch.no_grad()
    def _embed(self, prompts: tuple[str, ...]) -> torch.Tensor:
        """Text embeddings ``[B, tokens, width]``."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0]

    @torch.no_grad()
    def _invert(self, image: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        if image.shape[-2:] != (self.size, self.size):
            image = torch.nn.functional.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        clean = self.vae.encode(image * 2 - 1).latent_dist.mean * self.vae.config.scaling_factor
        none = clean.new_zeros(len(condition), self.steps, 1, 1)
        denoise = self._denoiser(condition, none, none)
        # The chain's answer is its last predicted clean latent, which is where a walk to level 0 would end.
        levels = [*self.levels[:-1], 0.0]
        return invert(denoise, clean, levels, iterations=self.inversion) / (1 + self.levels[0] ** 2) ** 0.5


def _load(name: str | Path, device: str) -> Any:
    diffusers = need("diffusers", "generate")
    try:
        return diffusers.StableDiffusionPipeline.from_pretrained(
            str(name), use_safetensors=True, safety_checker=None, requires_safety_checker=False
        ).to(device)
    except (OSError, ValueError) as error:
        raise BadCheckpoint(
            f"No Stable Diffusion pipeline with safetensors weights could be loaded from {str(name)!r} "
            f"({str(error).splitlines()[0]}).",
            "Name a folder or a hub repository that holds one.",
        ) from error
